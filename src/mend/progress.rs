//! How far groups have committed and clients have read, as the passing traffic shows it (rules D1, D4).
//!
//! The session tells what the broker answered to commits, before a mender sees it; menders tell what
//! they sent themselves, and what connections fetch. Nothing here is asked for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::peers::ClientKey;

/// Topic and partition.
pub type Place = (Arc<str>, i32);

/// What a group has committed of a partition, as the broker said last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The next offset to read; -1: nothing is committed.
    pub offset: i64,
    /// Who committed, or asked for it.
    pub client: ClientKey,
    pub at: Instant,
}

/// What one connection fetches of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Read {
    /// The offset that was asked for last.
    pub position: i64,
    /// From the newest answer; -1: none yet.
    pub high_watermark: i64,
    pub last_stable: i64,
    /// When a Fetch request went upstream whose session had the partition in it, listed or not.
    pub asked: Instant,
    pub conn: u64,
}

/// How a client's newest commit for a group ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastCommit {
    pub at: Instant,
    /// 0: the broker took some of it; else the first error that a partition had.
    pub error: i16,
    /// The client was told that it succeeded: it is kept for it.
    pub hidden: bool,
}

/// What is kept at most, of all clients and groups together; what is beyond is not known.
const MAX_PLACES: usize = 200_000;
const MAX_CLIENTS: usize = 4096;

#[derive(Debug, Default)]
struct Client {
    reads: HashMap<Place, Read>,
    /// When it asked where to begin with a partition: it knows that the partition is its own.
    looked_up: HashMap<Place, Instant>,
    /// When it last sent a Fetch request.
    fetched: Option<Instant>,
    commits: HashMap<Arc<str>, LastCommit>,
}

impl Client {
    fn places(&self) -> usize {
        self.reads.len() + self.looked_up.len()
    }
}

#[derive(Debug, Default)]
struct State {
    clients: HashMap<ClientKey, Client>,
    groups: HashMap<Arc<str>, HashMap<Place, Committed>>,
    /// How many of all kinds are kept.
    places: usize,
    /// When something was last left out for want of room.
    left_out: Option<Instant>,
}

#[derive(Debug, Default)]
pub struct Progress {
    state: Mutex<State>,
}

impl Progress {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The broker said what is committed: it took a commit, or answered an OffsetFetch (-1: nothing).
    pub fn committed(&self, group: &str, client: &ClientKey, place: &Place, offset: i64, now: Instant) {
        let mut state = self.state();
        let state = &mut *state;
        let committed = Committed { offset, client: client.clone(), at: now };
        if let Some(known) = state.groups.get_mut(group).and_then(|g| g.get_mut(place)) {
            *known = committed;
            return;
        }
        if state.places < MAX_PLACES {
            state.places += 1;
            state.groups.entry(Arc::from(group)).or_default().insert(place.clone(), committed);
        }
    }

    /// A client's commit was answered: 0, or the first error where no partition was taken.
    pub fn commit_ended(&self, group: &str, client: &ClientKey, error: i16, now: Instant) {
        let mut state = self.state();
        if let Some(client) = client_of(&mut state, client) {
            client.commits.insert(Arc::from(group), LastCommit { at: now, error, hidden: false });
        }
    }

    /// A mender shows the client's newest commit as a success, whatever the broker said.
    pub fn commit_hidden(&self, group: &str, client: &ClientKey) {
        let mut state = self.state();
        let commits = state.clients.get_mut(client).map(|c| &mut c.commits);
        if let Some(last) = commits.and_then(|commits| commits.get_mut(group)) {
            last.hidden = true;
        }
    }

    /// A client asked where to begin with a partition (OffsetFetch, ListOffsets, OffsetForLeaderEpoch).
    pub fn looked_up(&self, client: &ClientKey, place: &Place, now: Instant) {
        let mut state = self.state();
        let is_full = state.places >= MAX_PLACES;
        let Some(of_client) = client_of(&mut state, client) else {
            state.left_out = Some(now);
            return;
        };
        if let Some(at) = of_client.looked_up.get_mut(place) {
            *at = now;
        } else if is_full {
            state.left_out = Some(now);
        } else {
            of_client.looked_up.insert(place.clone(), now);
            state.places += 1;
        }
    }

    /// What a connection fetches now. `asked`: when it last sent a Fetch request.
    pub fn reads(&self, client: &ClientKey, asked: Instant, reads: impl IntoIterator<Item = (Place, Read)>) {
        let mut state = self.state();
        let mut room = MAX_PLACES.saturating_sub(state.places);
        let Some(of_client) = client_of(&mut state, client) else {
            state.left_out = state.left_out.max(Some(asked));
            return;
        };
        of_client.fetched = of_client.fetched.max(Some(asked));
        let (mut new, mut left_out) = (0, None);
        for (place, read) in reads {
            match of_client.reads.get_mut(&place) {
                // The leader has moved, and the old connection tells late.
                Some(known) if known.conn != read.conn && known.asked > read.asked => {}
                Some(known) => {
                    let ends = (known.high_watermark, known.last_stable);
                    *known = read;
                    if read.high_watermark < 0 {
                        (known.high_watermark, known.last_stable) = ends;
                    }
                }
                None if room == 0 => left_out = Some(read.asked),
                None => {
                    of_client.reads.insert(place, read);
                    (room, new) = (room - 1, new + 1);
                }
            }
        }
        state.places += new;
        state.left_out = state.left_out.max(left_out);
    }

    /// Where a log ends, as a request of a mender's own has shown.
    pub fn end_shown(&self, client: &ClientKey, place: &Place, high_watermark: i64) {
        let mut state = self.state();
        if let Some(read) = state.clients.get_mut(client).and_then(|c| c.reads.get_mut(place)) {
            read.high_watermark = read.high_watermark.max(high_watermark);
        }
    }

    /// When a lookup or a Fetch was last not kept, as there was no room: nobody can tell whose it was.
    pub fn left_out_at(&self) -> Option<Instant> {
        self.state().left_out
    }

    pub fn committed_of(&self, group: &str, place: &Place) -> Option<Committed> {
        self.state().groups.get(group)?.get(place).cloned()
    }

    /// Every partition that a group is known to have committed, or asked about.
    pub fn committed_by(&self, group: &str) -> Vec<(Place, Committed)> {
        let state = self.state();
        let of_group = state.groups.get(group).into_iter().flatten();
        of_group.map(|(place, committed)| (place.clone(), committed.clone())).collect()
    }

    /// Groups with something committed.
    pub fn groups(&self) -> Vec<Arc<str>> {
        self.state().groups.keys().cloned().collect()
    }

    pub fn read_of(&self, client: &ClientKey, place: &Place) -> Option<Read> {
        self.state().clients.get(client)?.reads.get(place).copied()
    }

    /// All that a client is known to fetch, or to have fetched.
    pub fn reads_of(&self, client: &ClientKey) -> HashMap<Place, Read> {
        self.state().clients.get(client).map(|c| c.reads.clone()).unwrap_or_default()
    }

    /// The furthest log end of a partition that any client has been shown.
    pub fn end_of(&self, place: &Place) -> Option<i64> {
        let state = self.state();
        let ends = state.clients.values().filter_map(|c| c.reads.get(place)).map(|r| r.high_watermark);
        ends.max().filter(|end| *end >= 0)
    }

    pub fn looked_up_at(&self, client: &ClientKey, place: &Place) -> Option<Instant> {
        self.state().clients.get(client)?.looked_up.get(place).copied()
    }

    /// When the client last sent a Fetch request, by whichever connection.
    pub fn fetched_at(&self, client: &ClientKey) -> Option<Instant> {
        self.state().clients.get(client)?.fetched
    }

    pub fn last_commit(&self, client: &ClientKey, group: &str) -> Option<LastCommit> {
        self.state().clients.get(client)?.commits.get(group).copied()
    }

    /// The client's last connection has gone. What its groups have committed stays true while
    /// another member may still show it.
    pub fn forget_client(&self, client: &ClientKey) {
        let state = &mut *self.state();
        if let Some(gone) = state.clients.remove(client) {
            state.places = state.places.saturating_sub(gone.places());
        }
        let places = &mut state.places;
        for of_group in state.groups.values_mut() {
            of_group.retain(|_, committed| {
                let stays = committed.client != *client;
                *places = places.saturating_sub(usize::from(!stays));
                stays
            });
        }
        state.groups.retain(|_, of_group| !of_group.is_empty());
    }
}

fn client_of<'a>(state: &'a mut State, client: &ClientKey) -> Option<&'a mut Client> {
    if state.clients.len() >= MAX_CLIENTS && !state.clients.contains_key(client) {
        return None;
    }
    Some(state.clients.entry(client.clone()).or_default())
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::time::Duration;

    use super::*;

    fn client(id: usize) -> ClientKey {
        ClientKey { client_id: format!("app-{id}").into(), peer: IpAddr::from([127, 0, 0, 1]) }
    }

    fn read(asked: Instant) -> Read {
        Read { position: 1, high_watermark: 1, last_stable: 1, asked, conn: 1 }
    }

    #[test]
    fn what_there_is_no_room_for_is_not_taken_for_what_never_was() {
        let (progress, start) = (Progress::default(), Instant::now());
        let topic: Arc<str> = "orders".into();
        let at = |seconds| start + Duration::from_secs(seconds);
        let most = i32::try_from(MAX_PLACES).expect("fits");
        progress.reads(&client(0), start, (0..most).map(|p| ((topic.clone(), p), read(start))));
        progress.looked_up(&client(0), &(topic.clone(), 0), at(1));
        assert_eq!(progress.left_out_at(), Some(at(1)));
        progress.reads(&client(0), at(2), [((topic.clone(), 5), read(at(2)))]);
        assert_eq!(progress.left_out_at(), Some(at(1)), "that one is known");
        progress.reads(&client(0), at(3), [((topic.clone(), most), read(at(3)))]);
        assert_eq!(progress.left_out_at(), Some(at(3)));
        for id in 1..MAX_CLIENTS {
            progress.commit_ended("g", &client(id), 0, at(4));
        }
        assert_eq!(progress.left_out_at(), Some(at(3)), "commits are not asked for");
        progress.looked_up(&client(MAX_CLIENTS), &(topic, 0), at(5));
        assert_eq!(progress.left_out_at(), Some(at(5)));
    }
}
