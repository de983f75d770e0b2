//! Logins against a scripted broker and a scripted token endpoint.

mod broker;
mod endpoint;
mod exchange;
mod login;
