//! commit_buffer on whole connections, against a scripted broker and a scripted journal.

mod bench;
pub(super) mod journal;
mod line;
pub(super) mod says;
mod steps;

mod beats;
mod behind;
mod delivered;
mod flush;
mod forward;
mod hurry;
mod kept;
mod overlay;
mod reload;
mod replay;
mod restored;
mod transactions;
