//! When a rebalance begins, why, when it ends, and what is none.

use super::*;

/// One group; the clock goes on by a second with every step.
struct Group {
    groups: Groups,
    now: Instant,
}

const A: &str = "a-1";
const B: &str = "b-1";

impl Group {
    fn new() -> Group {
        Group { groups: Groups::default(), now: Instant::now() }
    }

    /// Members named after their clients are stable in this generation, and it has been counted.
    fn stable(members: &[&str], generation: i32) -> Group {
        let mut g = Group::new();
        members.iter().for_each(|m| g.ask(m));
        members.iter().for_each(|m| g.joined(m, generation));
        members.iter().for_each(|m| g.sync(m, generation));
        assert_eq!(g.causes(), [Cause::Join]);
        g
    }

    fn tell<T>(&mut self, member: &str, tell: impl FnOnce(&Groups, &Who<'_>) -> T) -> T {
        self.now += Duration::from_secs(1);
        let client = client(member.split('-').next().unwrap_or_default());
        tell(&self.groups, &Who { client: &client, group: "g", member, now: self.now })
    }

    fn ask(&mut self, member: &str) {
        assert!(self.tell(member, Groups::join_asked));
    }

    fn ask_nameless(&mut self, of: &str) {
        self.now += Duration::from_secs(1);
        let client = client(of);
        assert!(self.groups.join_asked(&Who { client: &client, group: "g", member: "", now: self.now }));
    }

    fn joined(&mut self, member: &str, generation: i32) {
        self.tell(member, |g, who| g.joined(who, joined(generation, false), Terms::default()));
        self.groups.ask_ended("g");
    }

    fn join(&mut self, member: &str, generation: i32) {
        self.ask(member);
        self.joined(member, generation);
    }

    fn ask_sync(&mut self) {
        assert!(self.groups.sync_asked("g"));
    }

    fn synced(&mut self, member: &str, generation: i32) {
        self.tell(member, |g, who| g.synced(who, joined(generation, false), None, owning([1])));
        self.groups.ask_ended("g");
    }

    fn sync(&mut self, member: &str, generation: i32) {
        self.ask_sync();
        self.synced(member, generation);
    }

    fn refuse(&mut self, member: &str, generation: i32, error: i16) {
        self.tell(member, |g, who| g.refused(who, generation, error));
    }

    fn refuse_join(&mut self, member: &str, error: i16) {
        self.tell(member, |g, who| g.join_refused(who, error));
        self.groups.ask_ended("g");
    }

    fn leave(&mut self, member: &str) {
        self.tell(member, Groups::leaves);
    }

    fn is_rebalancing(&self) -> bool {
        self.groups.is_rebalancing("g")
    }

    /// Causes and seconds.
    fn ended(&self) -> Vec<(Cause, u64)> {
        let all = self.groups.take_rebalances();
        assert!(all.iter().all(|r| &*r.group == "g"));
        all.iter().map(|r| (r.cause, r.took.as_secs())).collect()
    }

    fn causes(&self) -> Vec<Cause> {
        self.ended().into_iter().map(|(cause, _)| cause).collect()
    }
}

#[test]
fn a_new_member_joins_and_it_ends_with_the_last_assignment() {
    let mut g = Group::new();
    assert!(!g.is_rebalancing());
    g.ask_nameless("a");
    assert!(g.is_rebalancing());
    // It is the same join after the broker has named it.
    g.refuse_join("", 79);
    g.ask(A);
    g.joined(A, 1);
    assert!(g.is_rebalancing());
    g.ask_sync();
    assert_eq!(g.ended(), []);
    g.synced(A, 1);
    assert!(!g.is_rebalancing());
    assert_eq!(g.ended(), [(Cause::Join, 4)]);
    assert_eq!(g.ended(), [], "told once");

    // One more: those who were here are told by the broker, and count once together.
    g.ask(B);
    g.refuse(A, 1, 27);
    g.join(A, 2);
    g.joined(B, 2);
    g.sync(A, 2);
    assert_eq!((g.ended(), g.is_rebalancing()), (vec![], true));
    g.sync(B, 2);
    assert_eq!((g.ended(), g.is_rebalancing()), (vec![(Cause::Join, 6)], false));
}

#[test]
fn the_first_sign_names_the_cause() {
    type Sign = fn(&mut Group);
    let signs: [(Sign, Cause); 9] = [
        (|g| g.leave("c-1"), Cause::Leave),
        (|g| g.refuse(A, 5, 25), Cause::Expiry),
        (|g| g.refuse(A, 5, 22), Cause::Expiry),
        (|g| g.refuse(A, 5, 27), Cause::Elsewhere),
        (|_| {}, Cause::Metadata),
        (|g| g.groups.repaired("g", A), Cause::Repair),
        (
            |g| {
                g.ask(A);
                g.refuse_join(A, 25);
            },
            Cause::Expiry,
        ),
        (|g| g.ask("new"), Cause::Join),
        // Another's repair is not this one's.
        (|g| g.groups.repaired("g", "nobody"), Cause::Metadata),
    ];
    for (at, (sign, cause)) in signs.into_iter().enumerate() {
        let mut g = Group::stable(&[A, B, "c-1"], 5);
        sign(&mut g);
        g.join(A, 6);
        g.join(B, 6);
        if g.groups.member("g", "c-1").is_some() {
            g.join("c-1", 6);
            g.sync("c-1", 6);
        }
        if at == 7 {
            g.joined("new", 6);
            g.sync("new", 6);
        }
        g.sync(A, 6);
        g.sync(B, 6);
        assert_eq!(g.causes(), [cause], "{at}");
        // It is used up.
        g.join(A, 7);
        g.sync(A, 7);
        assert_eq!(g.causes(), [Cause::Metadata], "{at}");
    }
}

#[test]
fn who_asks_for_a_new_id_after_a_repair_is_repaired() {
    let mut g = Group::stable(&[A, B], 5);
    g.groups.repaired("g", A);
    g.ask_nameless("a");
    g.joined("a-2", 6);
    g.sync("a-2", 6);
    assert_eq!(g.causes(), [Cause::Repair]);
    let mut g = Group::stable(&[A, B], 5);
    g.groups.repaired("g", A);
    g.ask_nameless("b");
    g.joined("b-2", 6);
    g.sync("b-2", 6);
    assert_eq!(g.causes(), [Cause::Join]);
}

#[test]
fn an_assignment_without_a_new_generation_is_no_rebalance() {
    let mut g = Group::stable(&[A, B], 5);
    g.join(A, 5);
    g.sync(A, 5);
    assert_eq!((g.ended(), g.is_rebalancing()), (vec![], false));
    // A static member comes back under another id.
    let instance = || Terms { instance: Some(Arc::from("i")), ..Terms::default() };
    g.ask_nameless("a");
    g.tell("a-7", |g, who| g.joined(who, joined(5, false), instance()));
    g.groups.ask_ended("g");
    g.sync("a-7", 5);
    assert_eq!(g.ended(), []);
    // Of a group that was there before kmend.
    let mut g = Group::new();
    g.tell(A, |g, who| g.heard(who, 5, None));
    g.join(A, 5);
    g.sync(A, 5);
    assert_eq!(g.ended(), []);
    g.join(A, 6);
    g.sync(A, 6);
    assert_eq!(g.causes(), [Cause::Metadata]);
}

/// As after a cooperative assignment: who has to give something up joins again before the others
/// have heard of theirs.
#[test]
fn the_next_one_may_begin_before_all_are_assigned() {
    let mut g = Group::stable(&[A, B], 5);
    g.leave("nobody");
    g.refuse(A, 5, 27);
    g.join(A, 6);
    g.join(B, 6);
    g.sync(A, 6);
    g.ask(A);
    g.sync(B, 6);
    assert_eq!((g.ended(), g.is_rebalancing()), (vec![], true));
    g.refuse(B, 6, 27);
    g.ask(B);
    g.joined(A, 7);
    g.joined(B, 7);
    g.sync(A, 7);
    assert_eq!(g.ended(), [(Cause::Elsewhere, 7)]);
    g.sync(B, 7);
    assert_eq!(g.ended(), [(Cause::Metadata, 7)]);
}

#[test]
fn what_was_said_late_of_an_older_generation_is_no_sign() {
    for error in [22, 25, 27] {
        let mut g = Group::stable(&[A, B], 5);
        g.refuse(A, 4, error);
        g.refuse("stranger", 5, error);
        assert!(!g.is_rebalancing(), "{error}");
        g.join(A, 6);
        g.sync(A, 6);
        assert_eq!(g.causes(), [Cause::Metadata], "{error}");
    }
}

#[test]
fn it_goes_on_for_as_long_as_somebody_is_not_assigned() {
    let mut g = Group::stable(&[A, B], 5);
    g.refuse(A, 5, 27);
    g.refuse(A, 5, 27);
    assert!(g.is_rebalancing());
    g.join(A, 6);
    g.sync(A, 6);
    assert!(!g.is_rebalancing());

    // Asked, and the connection ends.
    g.ask(A);
    assert!(g.is_rebalancing());
    g.groups.ask_ended("g");
    g.ask_sync();
    assert!(g.is_rebalancing());
    g.groups.ask_ended("g");
    assert!(!g.is_rebalancing());

    // Whoever was told and comes no more is left behind with the next generation.
    g.refuse(B, 5, 27);
    g.join(A, 7);
    g.sync(A, 7);
    assert!(!g.is_rebalancing());
    // So is who joined and never asked for its assignment.
    g.join(B, 8);
    assert!(g.is_rebalancing());
    g.join(A, 9);
    g.sync(A, 9);
    assert!(!g.is_rebalancing());

    // Whoever was told and goes is not waited for.
    for go in [|g: &mut Group| g.leave(B), |g: &mut Group| g.groups.left("g", B), |g: &mut Group| g.refuse(B, 9, 25)] {
        let mut g = Group::stable(&[A, B], 9);
        g.refuse(B, 9, 27);
        assert!(g.is_rebalancing());
        go(&mut g);
        assert!(!g.is_rebalancing());
    }
    let mut g = Group::stable(&[A, B], 9);
    g.refuse(B, 9, 27);
    g.groups.forget_client(&client("b"));
    assert!(!g.is_rebalancing());
}

#[test]
fn one_who_goes_may_be_the_last_that_was_missing() {
    let mut g = Group::stable(&[A, B], 5);
    g.refuse(A, 5, 27);
    g.join(A, 6);
    g.join(B, 6);
    g.sync(A, 6);
    assert_eq!(g.ended(), []);
    g.groups.forget_client(&client("b"));
    assert_eq!(g.ended(), [(Cause::Elsewhere, 5)], "until the last assignment");
}

#[test]
fn a_sign_that_comes_to_nothing_is_forgotten() {
    // Refused for another reason: the next attempt begins anew.
    let mut g = Group::stable(&[A], 5);
    g.ask(A);
    g.refuse_join(A, 15);
    g.join(A, 6);
    g.sync(A, 6);
    assert_eq!(g.ended(), [(Cause::Metadata, 2)]);
    // Told that it is forgotten, and silent for longer than anybody is who rejoins.
    g.refuse(A, 6, 22);
    g.now += Duration::from_secs(61);
    g.join(A, 7);
    g.sync(A, 7);
    assert_eq!(g.ended(), [(Cause::Metadata, 2)]);
    // A little later it belongs together.
    g.refuse(A, 7, 22);
    g.now += Duration::from_secs(40);
    g.join(A, 8);
    g.sync(A, 8);
    assert_eq!(g.ended(), [(Cause::Expiry, 43)]);
}

#[test]
fn a_group_that_begins_anew_counts_from_there() {
    let mut g = Group::stable(&[A], 5);
    g.refuse(A, 5, 25);
    g.groups.forgotten("g", A);
    g.ask_nameless("a");
    g.joined("a-2", 1);
    g.sync("a-2", 1);
    assert_eq!(g.causes(), [Cause::Expiry]);
    g.join("a-2", 2);
    g.sync("a-2", 2);
    assert_eq!(g.causes(), [Cause::Metadata]);
}

#[test]
fn what_is_kept_goes_with_the_last_member() {
    for go in [
        |g: &mut Group| g.leave(A),
        |g: &mut Group| g.groups.left("g", A),
        |g: &mut Group| {
            g.groups.forget_client(&client("a"));
        },
    ] {
        let mut g = Group::stable(&[A], 5);
        g.groups.repaired("g", A);
        g.refuse(A, 5, 27);
        go(&mut g);
        assert_eq!((g.groups.watched(), g.is_rebalancing()), (0, false));
        assert_eq!(g.ended(), []);
        g.groups.repaired("g", A);
        assert_eq!(g.groups.watched(), 0);
    }
    // A join that never came to a member.
    let mut g = Group::new();
    g.ask_nameless("a");
    g.groups.forget_client(&client("a"));
    assert!(g.is_rebalancing(), "it is on its way");
    g.refuse_join("", 79);
    g.groups.forget_client(&client("a"));
    assert_eq!(g.groups.watched(), 0);
}

#[test]
fn events_and_groups_are_bounded() {
    let mut g = Group::stable(&[A], 5);
    for generation in 6..1010 {
        g.groups.repaired("g", A);
        g.join(A, generation);
        g.sync(A, generation);
    }
    let all = g.ended();
    assert_eq!((all.len(), all[0]), (1000, (Cause::Repair, 2)));
    let (groups, a) = (Groups::default(), client("a"));
    for n in 0..20_010 {
        let group = format!("g{n}");
        assert!(groups.join_asked(&Who { client: &a, group: &group, member: "", now: g.now }) == (n < 20_000));
    }
    assert_eq!(groups.watched(), 20_000);
    // What is not on its way any more makes room.
    groups.ask_ended("g7");
    assert!(groups.sync_asked("other"));
    assert_eq!(groups.watched(), 20_000);
}

mod kip848 {
    use super::*;

    fn beat(g: &mut Group, member: &str, epoch: i32, joins: bool, assigned: Option<&[i32]>) {
        let of = |p: &[i32]| Assignment { by_id: HashMap::from([([7; 16], p.to_vec())]), by_name: HashMap::new() };
        let beat = Beat { epoch, joins, assignment: assigned.map(of), ..Beat::default() };
        g.tell(member, |g, who| g.beat(who, beat));
    }

    #[test]
    fn an_epoch_counts_once_where_an_assignment_changed() {
        let mut g = Group::new();
        beat(&mut g, A, 1, true, Some(&[0, 1]));
        assert_eq!(g.ended(), [(Cause::Join, 0)]);
        beat(&mut g, A, 1, false, None);
        beat(&mut g, A, 2, false, None);
        assert_eq!(g.ended(), [], "nothing of it has changed");
        beat(&mut g, A, 3, false, Some(&[0, 1]));
        assert_eq!(g.ended(), [], "said again");
        beat(&mut g, A, 4, false, Some(&[0, 1, 2]));
        beat(&mut g, B, 4, true, Some(&[3]));
        assert_eq!(g.ended(), [(Cause::Elsewhere, 0)], "one of the group");
        // It gives up first, and comes to the next epoch when it has.
        beat(&mut g, A, 4, false, Some(&[0]));
        assert_eq!(g.ended(), []);
        beat(&mut g, A, 5, false, None);
        assert_eq!(g.ended(), [(Cause::Elsewhere, 0)]);
        beat(&mut g, B, 5, false, Some(&[1, 2, 3]));
        beat(&mut g, A, 6, false, None);
        assert_eq!(g.ended(), [], "of the same epoch, and of one that changed nothing");
        assert!(!g.is_rebalancing());
    }

    #[test]
    fn one_that_joins_and_waits_for_what_others_give_up_takes_as_long() {
        let mut g = Group::new();
        beat(&mut g, A, 3, true, None);
        assert!(g.is_rebalancing());
        beat(&mut g, A, 3, false, Some(&[1]));
        assert_eq!((g.ended(), g.is_rebalancing()), (vec![(Cause::Join, 1)], false));
        // A static member comes back to what it had.
        beat(&mut g, A, 3, true, Some(&[1]));
        beat(&mut g, A, 4, false, Some(&[1, 2]));
        assert_eq!(g.ended(), [(Cause::Elsewhere, 0)]);
        g.leave(A);
        assert_eq!(g.groups.watched(), 0);
    }
}
