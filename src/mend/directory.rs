//! Where clients are sent in place of the brokers: what the session asks, and the routing answers.

use std::net::IpAddr;

/// Where clients are sent in place of the brokers.
pub trait Directory: Send + Sync {
    /// A Metadata or DescribeCluster response names its cluster.
    fn learn_cluster(&self, cluster_id: &str);
    /// The host and port at which a client that came to `local` finds this broker. A listener
    /// stands there when this returns.
    fn advertise(&self, node: i32, host: &str, port: i32, local: IpAddr) -> Result<(String, u16), String>;
    /// The cluster as far as it is known.
    fn overview(&self) -> Overview;
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overview {
    pub cluster_id: Option<String>,
    /// Node id and the port of its listener, by id.
    pub nodes: Vec<(i32, u16)>,
}
