//! commit_buffer on whole connections, against a scripted broker and a scripted journal.

mod bench;
mod journal;
mod line;
mod says;
mod steps;

mod beats;
mod behind;
mod delivered;
mod flush;
mod forward;
mod kept;
mod overlay;
mod reload;
mod replay;
mod restored;
mod transactions;
