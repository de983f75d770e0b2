//! Why a connection ends.

use thiserror::Error;

use crate::tls::HandshakeError;
use crate::upstream::sasl::LoginError;
use crate::wire::frame::FrameError;
use crate::wire::head::HeadError;
use crate::wire::walk::WalkError;

/// Whose fault, or whose wish, the end is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Client,
    Upstream,
    Proxy,
}

impl Side {
    pub fn label(self) -> &'static str {
        match self {
            Side::Client => "client",
            Side::Upstream => "upstream",
            Side::Proxy => "proxy",
        }
    }
}

#[derive(Debug, Error)]
pub enum End {
    #[error("the client closed the connection")]
    ClientClosed,
    #[error("the broker closed the connection")]
    UpstreamClosed,
    #[error("reading from or writing to the client: {0}")]
    ClientIo(std::io::Error),
    #[error("reading from or writing to the broker: {0}")]
    UpstreamIo(std::io::Error),
    #[error("the client sent something that is no Kafka request: {0}")]
    BadRequest(FrameError),
    #[error("the client sent a broken request header: {0}")]
    BadHead(HeadError),
    #[error(
        "the client sent {api} version {version}, newer than this kmend can rewrite; it was told so in ApiVersions"
    )]
    TooNew { api: &'static str, version: i16 },
    #[error("the client sent a request with API key {0}, which neither kmend nor the broker knows")]
    UnknownKey(i16),
    #[error("the client sent a {api} request that does not fit its layout: {why}")]
    BadBody { api: &'static str, why: WalkError },
    #[error("the broker sent something that is no Kafka response: {0}")]
    BadResponse(FrameError),
    #[error(
        "the broker answered a request that nobody asked, or out of order: correlation id {got}, expected {expected:?}"
    )]
    Unexpected { got: i32, expected: Option<i32> },
    #[error("the broker sent a {api} response (version {version}) that kmend must rewrite and cannot read: {why}")]
    Unreadable { api: &'static str, version: i16, why: String },
    #[error(
        "a {api} frame of {size} bytes must be held whole and is over limits.max_whole_frame ({limit} bytes): raise it"
    )]
    OverWhole { api: &'static str, size: usize, limit: usize },
    #[error("no room for a frame of {0} bytes within limits.memory for 10 s")]
    OverMemory(usize),
    #[error("no request within limits.handshake_timeout")]
    Handshake,
    #[error("{0}")]
    Tls(HandshakeError),
    #[error("a request was begun and not finished within limits.progress_timeout")]
    Progress,
    #[error("idle for limits.idle_timeout")]
    Idle,
    /// Who does not go on: the client with reading, or the broker.
    #[error("nothing moved for limits.idle_timeout: {}", standstill(*.0))]
    Stalled(Side),
    #[error("memory is short (limits.memory), and not a byte of what was held for it moved for 5 s")]
    Shed,
    #[error("kmend's own login cannot be renewed: {}", crate::upstream::chain(.0.as_ref()))]
    Login(Box<LoginError>),
    #[error("kmend is shutting down")]
    Shutdown,
    /// `late`: the client sent something after the close; it goes nowhere.
    #[error("a mender closed it at rest, so that the client asks for metadata")]
    Nudged { late: bool },
    #[error("no listener for broker {node}: {why}")]
    NoListener { node: i32, why: String },
}

fn standstill(side: Side) -> &'static str {
    match side {
        Side::Client => "the client does not read what waits for it",
        _ => "the broker stopped in the middle of an answer, or does not read what waits for it",
    }
}

impl End {
    pub fn side(&self) -> Side {
        match self {
            End::ClientClosed
            | End::ClientIo(_)
            | End::BadRequest(_)
            | End::BadHead(_)
            | End::TooNew { .. }
            | End::UnknownKey(_)
            | End::BadBody { .. }
            | End::Progress
            | End::Handshake
            | End::Tls(_) => Side::Client,
            End::Stalled(side) => *side,
            End::UpstreamClosed
            | End::UpstreamIo(_)
            | End::BadResponse(_)
            | End::Unexpected { .. }
            | End::Unreadable { .. } => Side::Upstream,
            End::OverWhole { .. }
            | End::OverMemory(_)
            | End::Idle
            | End::Login(_)
            | End::Shed
            | End::Shutdown
            | End::Nudged { .. }
            | End::NoListener { .. } => Side::Proxy,
        }
    }

    /// A bounded label for metrics.
    pub fn cause(&self) -> &'static str {
        match self {
            End::ClientClosed | End::UpstreamClosed => "closed",
            End::ClientIo(_) | End::UpstreamIo(_) => "io",
            End::BadRequest(e) | End::BadResponse(e) => e.reason(),
            End::BadHead(_) => "bad_header",
            End::TooNew { .. } => "too_new",
            End::UnknownKey(_) => "unknown_key",
            End::BadBody { .. } => "bad_body",
            End::Unexpected { .. } => "correlation",
            End::Unreadable { .. } => "unreadable",
            End::OverWhole { .. } => "over_max_whole_frame",
            End::OverMemory(_) => "over_memory",
            End::Handshake => "handshake_timeout",
            End::Tls(e) => e.reason(),
            End::Progress => "progress_timeout",
            End::Idle => "idle_timeout",
            End::Stalled(_) => "stalled",
            End::Shed => "shed",
            End::Login(_) => "login",
            End::Shutdown => "shutdown",
            End::Nudged { .. } => "nudged",
            End::NoListener { .. } => "no_listener",
        }
    }

    /// Whether it is the ordinary way for a connection to end.
    pub fn is_ordinary(&self) -> bool {
        matches!(
            self,
            End::ClientClosed | End::UpstreamClosed | End::ClientIo(_) | End::UpstreamIo(_) | End::Idle | End::Shutdown
        )
    }

    /// Whether bytes were at fault, for `frame_errors_total`.
    pub fn is_frame_error(&self) -> bool {
        let others = matches!(
            self,
            End::NoListener { .. }
                | End::Handshake
                | End::Progress
                | End::Stalled(_)
                | End::Shed
                | End::Login(_)
                | End::Nudged { .. }
        );
        !self.is_ordinary() && !others
    }
}
