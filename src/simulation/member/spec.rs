//! What kind of consumer a member is.

use crate::simulation::dice::Dice;
use crate::simulation::{At, MS, SECOND};

#[derive(Debug, Clone)]
pub struct Spec {
    /// The kmend that it goes through.
    pub kmend: usize,
    pub client_id: String,
    /// Of a static member.
    pub instance: Option<String>,
    pub start: At,
    /// JoinGroup and SyncGroup on one connection, the rest on another (franz-go); else all on one.
    pub split: bool,
    /// Of the whole group: partitions stay with their owner through a round.
    pub cooperative: bool,
    /// The client rejoins while the app goes on with what it has, and commits it (aiokafka).
    pub background: bool,
    /// The first commit error ends the app (a naive loop); else it rejoins.
    pub dies: bool,
    /// It commits before it rejoins, and waits for that (Java).
    pub commits_first: bool,
    pub session: At,
    pub rebalance: At,
    pub beat: At,
    pub commit_every: At,
    pub work_every: At,
    /// Then it only keeps its membership alive.
    pub works_until: At,
    /// After it has died; `None`: never.
    pub restart: Option<At>,
    pub join_version: i16,
    pub commit_version: i16,
    pub fetch_version: i16,
}

impl Spec {
    pub fn random(number: usize, kmends: usize, cooperative: bool, faults_end: At, dice: &mut Dice) -> Spec {
        let shares_name = dice.one_in(4);
        Spec {
            kmend: number % kmends,
            client_id: if shares_name { "app".into() } else { format!("app-{number}") },
            instance: dice.one_in(6).then(|| format!("i-{number}")),
            start: if dice.one_in(3) { dice.range(0, faults_end / 2) } else { dice.range(0, SECOND) },
            split: dice.one_in(3),
            cooperative,
            background: dice.one_in(3),
            dies: dice.one_in(4),
            commits_first: dice.one_in(2),
            session: dice.pick(&[2 * SECOND, 3 * SECOND, 4 * SECOND]),
            rebalance: dice.pick(&[1500 * MS, 2 * SECOND, 4 * SECOND]),
            beat: dice.range(200, 500) * MS,
            commit_every: dice.pick(&[60 * MS, 200 * MS, 500 * MS, SECOND]),
            work_every: dice.range(20, 120) * MS,
            works_until: dice.range(faults_end / 2, faults_end + 10 * SECOND),
            restart: (!dice.one_in(4)).then(|| dice.range(200, 3000) * MS),
            join_version: dice.pick(&[5, 7, 9]),
            commit_version: dice.pick(&[2, 5, 7, 8, 9]),
            fetch_version: dice.pick(&[2, 5, 7, 8, 9]),
        }
    }

    pub fn kind(&self) -> String {
        let said = [
            (self.split, "split"),
            (self.cooperative, "cooperative"),
            (self.background, "background"),
            (self.dies, "naive"),
            (self.commits_first, "commits-first"),
            (self.instance.is_some(), "static"),
        ];
        said.iter().filter(|(is, _)| *is).map(|(_, name)| *name).collect::<Vec<_>>().join(" ")
    }
}
