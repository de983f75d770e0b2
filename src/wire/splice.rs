//! Replacing parts of a frame whose new parts have another length: broker addresses.

use super::api::ApiKey;
use super::layout::{self, Layout, mark};
use super::varint;
use super::walk::{self, Action, Mark, Visitor, WalkError};

/// `len` bytes at `at` become `with`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Splice {
    pub at: usize,
    pub len: usize,
    pub with: Vec<u8>,
}

/// Applies `splices` (ascending, apart) to `front`, the first bytes of a frame of `total` bytes, and
/// corrects the size prefix.
pub fn apply(front: &[u8], total: usize, splices: &[Splice]) -> Vec<u8> {
    let mut out = Vec::with_capacity(front.len() + splices.iter().map(|s| s.with.len()).sum::<usize>());
    let mut from = 0;
    for s in splices {
        out.extend_from_slice(front.get(from..s.at).unwrap_or_default());
        out.extend_from_slice(&s.with);
        from = s.at + s.len;
    }
    out.extend_from_slice(front.get(from..).unwrap_or_default());
    let size = (total + out.len()).saturating_sub(front.len() + super::frame::PREFIX);
    if let Some(prefix) = out.first_chunk_mut::<4>() {
        *prefix = (size as u32).to_be_bytes();
    }
    out
}

/// A broker's address as it stands in a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeAt {
    pub id: i32,
    pub host: String,
    pub port: i32,
    host_at: usize,
    host_len: usize,
    port_at: usize,
}

/// What a walk over a response found out about addresses.
#[derive(Debug, Default)]
pub struct Addresses {
    pub nodes: Vec<NodeAt>,
    pub cluster_id: Option<String>,
    /// Where the `NodeEndpoints` tag stands: number, content, size of the content.
    endpoints: Vec<(usize, usize, usize)>,
    id: i32,
    compact: bool,
}

impl Visitor for Addresses {
    fn fixed(&mut self, mark: Mark, at: usize, bytes: &mut [u8]) {
        let Some(value) = bytes.first_chunk::<4>().map(|b| i32::from_be_bytes(*b)) else {
            return;
        };
        if mark == mark::NODE_ID {
            self.id = value;
        } else if mark == mark::PORT
            && let Some(node) = self.nodes.last_mut()
        {
            node.port = value;
            node.port_at = at;
        }
    }

    fn string(&mut self, mark: Mark, at: usize, value: Option<&[u8]>) {
        let text = || String::from_utf8_lossy(value.unwrap_or_default()).into_owned();
        if mark == mark::HOST {
            let bytes = value.map_or(0, <[u8]>::len);
            let host_len = bytes + if self.compact { varint::len(bytes as u32 + 1) } else { 2 };
            self.nodes.push(NodeAt { id: self.id, host: text(), port: 0, host_at: at, host_len, port_at: 0 });
        } else if mark == mark::CLUSTER_ID {
            self.cluster_id = value.map(|_| text());
        }
    }

    fn tag(&mut self, mark: Mark, at: usize, tag: u32, content: usize, size: usize) -> Action {
        if mark == mark::END_TAGS && tag == 0 {
            self.endpoints.push((at, content, size));
        }
        Action::Keep
    }
}

/// Where a node is told to be instead: host and port.
pub type Advertised = (String, u16);

impl Addresses {
    pub fn new(api: ApiKey, version: i16) -> Addresses {
        Addresses { compact: api.is_flexible(version), ..Addresses::default() }
    }

    /// The splices that put `advertise`'s answers in place of the addresses that were found. Nodes
    /// without an address (`-1`, no host: "coordinator not available") stay.
    pub fn splices<E>(&self, mut advertise: impl FnMut(&NodeAt) -> Result<Advertised, E>) -> Result<Vec<Splice>, E> {
        let mut splices = Vec::with_capacity(2 * self.nodes.len());
        for node in self.nodes.iter().filter(|n| !n.host.is_empty()) {
            let (host, port) = advertise(node)?;
            let mut with = Vec::with_capacity(host.len() + 2);
            if self.compact {
                varint::write(&mut with, host.len() as u32 + 1);
            } else {
                with.extend_from_slice(&(host.len() as i16).to_be_bytes());
            }
            with.extend_from_slice(host.as_bytes());
            splices.push(Splice { at: node.host_at, len: node.host_len, with });
            splices.push(Splice { at: node.port_at, len: 4, with: i32::from(port).to_be_bytes().to_vec() });
        }
        Ok(splices)
    }
}

/// Why addresses could not be replaced.
#[derive(Debug)]
pub enum RewriteError<E> {
    Walk(WalkError),
    Advertise(E),
}

/// Replaces all addresses of a complete frame. `None`: there are none, the frame stays as it is.
pub fn rewrite<E>(
    api: ApiKey,
    version: i16,
    layout: Layout,
    frame: &mut [u8],
    body: usize,
    mut advertise: impl FnMut(&NodeAt) -> Result<Advertised, E>,
) -> Result<Option<Vec<u8>>, RewriteError<E>> {
    let mut found = Addresses::new(api, version);
    walk::whole(layout, frame, body, &mut found).map_err(RewriteError::Walk)?;
    let mut splices = found.splices(&mut advertise).map_err(RewriteError::Advertise)?;
    for (at, content, size) in found.endpoints {
        // The tag's content is walked like a message of its own, its own size goes before it.
        let mut inner = vec![0; 4];
        inner.extend_from_slice(frame.get(content..content + size).unwrap_or_default());
        let total = inner.len();
        let mut nodes = Addresses::new(api, version);
        walk::whole(layout::node_endpoints(), &mut inner, 4, &mut nodes).map_err(RewriteError::Walk)?;
        let new = apply(&inner, total, &nodes.splices(&mut advertise).map_err(RewriteError::Advertise)?);
        let mut with = vec![0];
        varint::write(&mut with, new.len() as u32 - 4);
        with.extend_from_slice(new.get(4..).unwrap_or_default());
        splices.push(Splice { at, len: content + size - at, with });
    }
    Ok((!splices.is_empty()).then(|| apply(frame, frame.len(), &splices)))
}
