//! assignment_watchdog on whole connections, against a scripted broker, in virtual time.

mod app;
mod broker;
mod line;
mod says;
mod scene;

mod asks;
mod dangling;
mod generations;
mod harmless;
mod known;
mod members;
mod never;
mod rebalances;
mod reloads;
mod stalled;
mod wave;
