//! Names to addresses. A resolver that fails or hangs falls back to what it said last.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::config::units::HostPort;

/// Known addresses are waited for no longer than this: a hanging resolver must not eat the time
/// that the connection itself needs.
const PATIENCE: Duration = Duration::from_secs(1);

/// Brokers are few; a bound, so that names that come and go cannot pile up.
const MOST_NAMES: usize = 1024;

type Answer = Option<Result<Vec<SocketAddr>, Arc<io::Error>>>;

#[derive(Debug, Default)]
pub(super) struct Resolver {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// The last good answer for each name.
    good: Mutex<HashMap<HostPort, Vec<SocketAddr>>>,
    /// Lookups under way, one for each name: a hanging one blocks a thread, and only one.
    lookups: Mutex<HashMap<HostPort, watch::Receiver<Answer>>>,
}

impl Resolver {
    /// The name's addresses; the caller bounds the whole.
    pub(super) async fn resolve(&self, address: &HostPort) -> io::Result<Vec<SocketAddr>> {
        if let Some(ip) = address.ip() {
            return Ok(vec![SocketAddr::new(ip, address.port)]);
        }
        let known = lock(&self.shared.good).get(address).cloned();
        let lookup = self.lookup(address);
        let answer = match known {
            None => lookup.await,
            Some(known) => match tokio::time::timeout(PATIENCE, lookup).await {
                Ok(Ok(fresh)) => Ok(fresh),
                Ok(Err(error)) => {
                    tracing::warn!(%address, %error, "dns failed, the last good addresses are used");
                    Ok(known)
                }
                Err(_) => {
                    tracing::warn!(%address, "dns hangs, the last good addresses are used");
                    Ok(known)
                }
            },
        };
        answer.map_err(|error| io::Error::new(error.kind(), error))
    }

    /// Joins the lookup that is under way, or starts one.
    async fn lookup(&self, address: &HostPort) -> Result<Vec<SocketAddr>, Arc<io::Error>> {
        let mut answer = self.start(address);
        let gone = || Arc::new(io::Error::other("the lookup was given up"));
        match answer.wait_for(Option::is_some).await {
            Ok(answer) => answer.clone().unwrap_or_else(|| Err(gone())),
            Err(_) => Err(gone()),
        }
    }

    fn start(&self, address: &HostPort) -> watch::Receiver<Answer> {
        let mut lookups = lock(&self.shared.lookups);
        if let Some(lookup) = lookups.get(address) {
            return lookup.clone();
        }
        let (sender, receiver) = watch::channel(None);
        lookups.insert(address.clone(), receiver.clone());
        let shared = Arc::clone(&self.shared);
        let address = address.clone();
        // A task of its own: callers that give up must not leave the entry behind.
        tokio::spawn(async move {
            let result = look_up(&address).await.map_err(Arc::new);
            if let Ok(addresses) = &result {
                let mut good = lock(&shared.good);
                if good.len() >= MOST_NAMES {
                    good.clear();
                }
                good.insert(address.clone(), addresses.clone());
            }
            lock(&shared.lookups).remove(&address);
            sender.send_replace(Some(result));
        });
        receiver
    }
}

async fn look_up(address: &HostPort) -> io::Result<Vec<SocketAddr>> {
    let found = tokio::net::lookup_host((address.host.as_str(), address.port)).await?;
    let addresses: Vec<_> = found.collect();
    if addresses.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no addresses"));
    }
    Ok(addresses)
}

/// What is behind these locks is whole at any time, whoever panicked.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_last_good_address_outlives_dns() {
        let resolver = Resolver::default();
        let gone = HostPort::new("broker.invalid", 9092);
        assert!(resolver.resolve(&gone).await.is_err());
        let known: SocketAddr = "127.0.0.1:9092".parse().unwrap();
        lock(&resolver.shared.good).insert(gone.clone(), vec![known]);
        assert_eq!(resolver.resolve(&gone).await.unwrap(), [known]);
        assert!(lock(&resolver.shared.lookups).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_hanging_lookup_is_joined_not_doubled() {
        let resolver = Resolver::default();
        let name = HostPort::new("slow.invalid", 9092);
        let known: SocketAddr = "127.0.0.1:9092".parse().unwrap();
        let (_never, hanging) = watch::channel(None);
        lock(&resolver.shared.lookups).insert(name.clone(), hanging);
        lock(&resolver.shared.good).insert(name.clone(), vec![known]);
        assert_eq!(resolver.resolve(&name).await.unwrap(), [known]);
    }

    #[tokio::test]
    async fn addresses_need_no_lookup() {
        let resolver = Resolver::default();
        let found = resolver.resolve(&HostPort::new("::1", 1)).await.unwrap();
        assert_eq!(found, ["[::1]:1".parse().unwrap()]);
    }
}
