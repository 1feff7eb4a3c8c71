//! Rights, invitations and quotas, each against a table of what is to come out.

use alloy_primitives::Address;
use gristmill_datadir::Db;
use gristmill_datadir::faults::{Disk, Fault};
use gristmill_protocol::join::{Token, TokenHash};

use super::*;
use crate::journal::Journal;
use crate::members::admin::MembersError;

const NOW: u64 = 1_000_000;
const DAY_MS: u64 = 24 * HOUR_MS;

fn key(number: u8) -> Address {
    Address::repeat_byte(number)
}

fn hash(number: u8) -> TokenHash {
    Token([number; 32]).hash()
}

fn terms(group: Option<&str>, uses: u32) -> Terms {
    Terms {
        group: group.map(str::to_owned),
        user: None,
        requester: true,
        worker: true,
        exclusive: false,
        uses,
        expires_unix_ms: NOW + DAY_MS,
    }
}

fn join(invite: u8, user: &str, requester: u8, worker: Option<u8>) -> Join {
    Join {
        hash: hash(invite),
        user: user.to_owned(),
        user_chosen: true,
        machine: "pc".to_owned(),
        requester: Some(key(requester)),
        worker: worker.map(key),
    }
}

fn invite(members: &mut Members, number: u8, terms: Terms) {
    let changes = members.invite(hash(number), terms, NOW).unwrap();
    members.apply(changes);
}

fn redeem(members: &mut Members, join: &Join) -> Result<Joined, JoinError> {
    let (changes, joined) = members.redeem(join, NOW + 1)?;
    members.apply(changes);
    Ok(joined)
}

fn perform(members: &mut Members, deed: Deed) -> Result<(), MembersError> {
    let changes = members.perform(&deed)?;
    members.apply(changes);
    Ok(())
}

/// alice (key 1, worker 11) and bob (key 2, worker 12) of chem, carol (key 3, worker 13) of physics.
fn lab() -> Members {
    let mut members = Members::default();
    invite(&mut members, 1, terms(Some("chem"), 2));
    invite(&mut members, 2, terms(Some("physics"), 1));
    for (invitation, user, number) in [(1, "alice", 1), (1, "bob", 2), (2, "carol", 3)] {
        redeem(&mut members, &join(invitation, user, number, Some(number + 10))).unwrap();
    }
    members
}

#[test]
fn rights_are_those_of_files() {
    let mut members = lab();
    // Whom alice's worker serves: alice, bob of her group, carol of another, a stranger.
    for (mode, expected) in [
        ("755", [true, true, true, true]),
        ("777", [true, true, true, true]),
        ("111", [true, true, true, true]),
        ("750", [true, true, false, false]),
        ("710", [true, true, false, false]),
        ("700", [true, false, false, false]),
        ("744", [true, false, false, false]),
        ("600", [false; 4]),
        ("000", [false; 4]),
    ] {
        let (kind, address, ledger_owner, mode) = (Kind::Worker, key(11), None, mode.parse().unwrap());
        perform(&mut members, Deed::Chmod { kind, address, ledger_owner, mode }).unwrap();
        let owned = members.worker(key(11)).unwrap();
        let found = [1, 2, 3, 9].map(|user| Members::may_use(members.user_of(key(user)), owned));
        assert_eq!(found, expected, "{mode}");
        let served = members.served_by(key(11));
        let is_served = [1, 2, 3, 9].map(|user| served.as_ref().is_none_or(|served| served.contains(&key(user))));
        assert_eq!(is_served, expected, "{mode}");
    }
}

#[test]
fn modes_are_three_octal_digits_and_not_upside_down() {
    for text in ["", "75", "7555", "758", "abc", "-75", "+75", "0o7"] {
        assert!(text.parse::<Mode>().unwrap_err().to_string().contains("three digits"), "{text}");
    }
    for text in ["001", "705", "015", "055", "077"] {
        assert!(text.parse::<Mode>().unwrap_err().to_string().contains("further away"), "{text}");
    }
    for text in ["755", "750", "700", "644", "000"] {
        assert_eq!(text.parse::<Mode>().unwrap().to_string(), text);
    }
    assert!(serde_json::from_str::<Mode>("\"007\"").is_err());
}

#[test]
fn an_invitation_lets_in_as_many_as_it_says_until_it_expires() {
    let mut members = Members::default();
    invite(&mut members, 1, terms(Some("chem"), 2));
    let alice = redeem(&mut members, &join(1, "alice", 1, Some(11))).unwrap();
    let expected = Joined {
        user: "alice".to_owned(),
        group: Some("chem".to_owned()),
        requester: true,
        worker: Some("pc".to_owned()),
    };
    assert_eq!(alice, expected);
    // The same machine again: the same answer, and no use is lost.
    for _ in 0..3 {
        assert_eq!(redeem(&mut members, &join(1, "alice", 1, Some(11))), Ok(expected.clone()));
    }
    let bob = redeem(&mut members, &join(1, "bob", 2, Some(12))).unwrap();
    assert_eq!(bob.worker.as_deref(), Some("pc-2"), "two machines of one name");
    assert_eq!(redeem(&mut members, &join(1, "carol", 3, None)), Err(JoinError::UsedUp { uses: 2 }));
    // Those who are in are in, used up or expired.
    assert_eq!(members.redeem(&join(1, "alice", 1, Some(11)), NOW + 2 * DAY_MS).unwrap().0, Vec::new());
    invite(&mut members, 2, terms(None, 1));
    let late = join(2, "carol", 3, None);
    assert_eq!(members.redeem(&late, NOW + DAY_MS).unwrap_err(), JoinError::Expired);
    assert!(members.redeem(&late, NOW + DAY_MS - 1).is_ok());
    assert_eq!(redeem(&mut members, &join(7, "carol", 3, None)), Err(JoinError::Unknown));
    members.apply([Change::Forget(hash(2))]);
    assert_eq!(redeem(&mut members, &late), Err(JoinError::Unknown), "withdrawn");
}

#[test]
fn a_machine_may_bring_its_worker_later_but_not_a_second_one() {
    let mut members = Members::default();
    invite(&mut members, 1, terms(None, 1));
    assert_eq!(redeem(&mut members, &join(1, "alice", 1, None)).unwrap().worker, None);
    assert_eq!(redeem(&mut members, &join(1, "alice", 1, Some(11))).unwrap().worker.as_deref(), Some("pc"));
    assert!(members.worker(key(11)).is_some());
    let used_up = Err(JoinError::UsedUp { uses: 1 });
    assert_eq!(redeem(&mut members, &join(1, "alice", 1, Some(12))), used_up, "another worker of the same key");
    assert_eq!(redeem(&mut members, &join(1, "alice", 2, Some(11))), used_up, "another key beside the same worker");
}

#[test]
fn an_invitation_is_for_what_it_says() {
    let mut members = lab();
    invite(&mut members, 3, Terms { worker: false, ..terms(None, 5) });
    invite(&mut members, 4, Terms { requester: false, exclusive: true, ..terms(Some("chem"), 5) });
    invite(&mut members, 5, Terms { user: Some("alice".to_owned()), ..terms(None, 5) });
    // A worker is not let in by an invitation to ask for work, and the other way round.
    assert_eq!(redeem(&mut members, &join(3, "dave", 4, Some(14))).unwrap().worker, None);
    let workers_only = Join { requester: None, ..join(4, "lab", 0, Some(15)) };
    assert!(!redeem(&mut members, &workers_only).unwrap().requester);
    assert_eq!(members.worker(key(15)).unwrap().rights(), "owner lab, group chem, mode 750");
    assert_eq!(redeem(&mut members, &join(4, "eve", 5, None)), Err(JoinError::WorkersOnly));
    let no_requester = Join { requester: None, ..join(3, "eve", 0, Some(16)) };
    assert_eq!(redeem(&mut members, &no_requester), Err(JoinError::RequestersOnly));
    // One for alice is hers, whatever who redeems it wants to be called.
    assert_eq!(redeem(&mut members, &join(5, "mallory", 6, Some(17))).unwrap().user, "alice");
    assert_eq!(members.user_of(key(6)).unwrap().name, "alice");
    assert_eq!(redeem(&mut members, &join(5, "", 2, None)), Err(JoinError::KeyTaken { name: "bob".to_owned() }));
}

#[test]
fn a_name_belongs_to_one_user() {
    let mut members = lab();
    invite(&mut members, 3, terms(None, 9));
    let taken = |name: &str| Err(JoinError::NameTaken { name: name.to_owned() });
    assert_eq!(redeem(&mut members, &join(3, "alice", 4, None)), taken("alice"));
    for reserved in ["total", "admin"] {
        assert_eq!(redeem(&mut members, &join(3, reserved, 4, None)), taken(reserved));
    }
    let not_chosen = |requester| Join { user_chosen: false, ..join(3, "alice", requester, None) };
    assert_eq!(redeem(&mut members, &not_chosen(4)).unwrap().user, "alice-2");
    assert_eq!(redeem(&mut members, &not_chosen(5)).unwrap().user, "alice-3");
    let long = "a".repeat(32);
    redeem(&mut members, &join(3, &long, 6, None)).unwrap();
    let again = redeem(&mut members, &Join { user_chosen: false, ..join(3, &long, 7, None) }).unwrap();
    assert_eq!(again.user, format!("{}-2", "a".repeat(30)));
}

#[test]
fn who_is_expelled_comes_back_only_by_name() {
    let mut members = lab();
    perform(&mut members, Deed::Expel { user: "alice".to_owned() }).unwrap();
    assert!(members.user_of(key(1)).is_none() && members.worker(key(11)).is_none());
    let expelled = Err(JoinError::Expelled { name: "alice".to_owned() });
    assert_eq!(redeem(&mut members, &join(1, "alice", 1, Some(11))), expelled, "by the invitation that let her in");
    invite(&mut members, 3, terms(None, 1));
    assert_eq!(redeem(&mut members, &join(3, "alice", 1, None)), expelled);
    assert_eq!(members.names().users[&key(1)].0, "alice", "what she did stays hers in reports");
    invite(&mut members, 4, Terms { user: Some("alice".to_owned()), ..terms(None, 1) });
    redeem(&mut members, &join(4, "", 1, None)).unwrap();
    assert!(members.user_of(key(1)).is_some() && members.worker(key(11)).is_some());
}

#[test]
fn groups_are_entered_and_left() {
    let mut members = lab();
    let (alice, teachers) = ("alice".to_owned(), "teachers".to_owned());
    perform(&mut members, Deed::Enter { user: alice.clone(), group: teachers.clone() }).unwrap();
    let user = members.user_of(key(1)).unwrap();
    assert_eq!((user.group.as_deref(), user.is_in("teachers"), user.is_in("chem")), (Some("chem"), true, true));
    perform(&mut members, Deed::Leave { user: alice.clone(), group: "chem".to_owned() }).unwrap();
    assert_eq!(members.user_of(key(1)).unwrap().group.as_deref(), Some("teachers"), "the next one counts now");
    let error = perform(&mut members, Deed::Leave { user: alice, group: "chem".to_owned() }).unwrap_err();
    assert_eq!(error.to_string(), "alice is not in the group chem");
    for (user, group, expected) in
        [("nobody", "chem", "no user nobody"), ("bob", "No Such", "cannot name a group"), ("bob", "other", "reports")]
    {
        let error = perform(&mut members, Deed::Enter { user: user.to_owned(), group: group.to_owned() }).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn apps_and_data_are_everybodys_until_somebody_says_otherwise() {
    let mut members = lab();
    let wish =
        |requester, app, dataset| Wish { requester: key(requester), app: key(app), dataset: key(dataset), tasks: 1 };
    let refused = |members: &Members, wish: &Wish| members.refusal(true, wish, &Usage::default());
    assert_eq!(refused(&members, &wish(3, 50, 60)), None);
    let stranger = refused(&members, &wish(9, 50, 0)).unwrap();
    assert!(stranger.contains("members only") && stranger.contains("gristmill join"), "{stranger}");
    assert_eq!(members.refusal(false, &wish(9, 50, 0), &Usage::default()), None, "an open pool");
    for (kind, number) in [(Kind::App, 50), (Kind::Dataset, 60)] {
        let (address, ledger_owner, mode) = (key(number), Some(key(1)), Mode::GROUP);
        perform(&mut members, Deed::Chmod { kind, address, ledger_owner, mode }).unwrap();
        let owned = members.owned_at(kind, key(number)).unwrap();
        assert_eq!(owned.rights(), "owner alice, group chem, mode 750");
    }
    assert_eq!(refused(&members, &wish(2, 50, 60)), None, "bob is in chem");
    let carol = refused(&members, &wish(3, 50, 0)).unwrap();
    assert!(carol.starts_with("rights: carol may not use the app") && carol.contains("mode 750"), "{carol}");
    assert!(refused(&members, &wish(3, 0, 60)).unwrap().contains("dataset"));
    let open = members.refusal(false, &wish(9, 50, 0), &Usage::default()).unwrap();
    assert!(open.contains("strangers may not use"), "{open}");
    let (kind, address, ledger_owner, owner) = (Kind::App, key(50), None, Some("carol".to_owned()));
    perform(&mut members, Deed::Chown { kind, address, ledger_owner, owner, group: None }).unwrap();
    assert_eq!(refused(&members, &wish(3, 50, 0)), None);
    let unknown = Deed::Chmod { kind: Kind::Worker, address: key(77), ledger_owner: None, mode: Mode::GROUP };
    assert!(perform(&mut members, unknown).unwrap_err().to_string().contains("has to join first"));
}

#[test]
fn quotas_hold_for_a_user_and_for_a_group_together() {
    let mut members = lab();
    let quota = |tasks, cpu_hours| Quota { tasks, cpu_hours };
    let set = |members: &mut Members, name: &str, of_user, quota| {
        perform(members, Deed::Quota { name: name.to_owned(), of_user, quota }).unwrap();
    };
    set(&mut members, "chem", false, quota(Some(10), Some(2)));
    set(&mut members, "bob", true, quota(Some(3), None));
    let usage = |alice, bob, spent_ms| Usage {
        open: [(key(1), alice), (key(2), bob)].into(),
        spent_ms: [(key(1), spent_ms)].into(),
    };
    for (who, open, spent_ms, tasks, expected) in [
        (1, (0, 0), 0, 10, None),
        (1, (0, 0), 0, 11, Some("group chem may have 10 open tasks and has 0")),
        (1, (5, 3), 0, 2, None),
        (1, (5, 3), 0, 3, Some("group chem may have 10 open tasks and has 8")),
        (2, (0, 2), 0, 1, None),
        (2, (0, 2), 0, 2, Some("user bob may have 3 open tasks and has 2")),
        (2, (0, 0), 2 * HOUR_MS, 1, Some("2 CPU-hours")),
        (2, (0, 0), 2 * HOUR_MS - 1, 1, None),
        (3, (10, 3), 9 * HOUR_MS, 1_000, None),
    ] {
        let wish = Wish { requester: key(who), tasks, ..Wish::default() };
        let found = members.refusal(true, &wish, &usage(open.0, open.1, spent_ms));
        assert_eq!(found.is_some(), expected.is_some(), "{who} {open:?} {tasks}: {found:?}");
        assert!(found.unwrap_or_else(|| "quota".to_owned()).contains(expected.unwrap_or("quota")), "{who} {open:?}");
    }
}

#[test]
fn the_founder_and_its_workers_are_members_of_themselves() {
    let mut members = Members::default();
    let workers = [(key(11), "local-00".to_owned()), (key(12), "local-01".to_owned())];
    for _ in 0..2 {
        let changes = members.found("admin", key(1), &workers, NOW).unwrap();
        members.apply(changes);
    }
    assert_eq!(members.user_of(key(1)).unwrap().group.as_deref(), Some("admin"));
    assert_eq!(members.worker(key(12)).unwrap().rights(), "owner admin, group -, mode 755");
    assert!(members.found("admin", key(1), &workers, NOW).unwrap().is_empty(), "nothing is left to do");
}

#[test]
fn invitations_have_bounds() {
    let mut members = Members::default();
    for (terms, expected) in [
        (Terms { requester: false, worker: false, ..terms(None, 1) }, "for who asks for work"),
        (Terms { exclusive: true, ..terms(None, 1) }, "--group"),
        (terms(None, 0), "1 to 500"),
        (terms(None, 501), "1 to 500"),
        (Terms { expires_unix_ms: NOW, ..terms(None, 1) }, "a second to a year"),
        (Terms { expires_unix_ms: u64::MAX, ..terms(None, 1) }, "a second to a year"),
        (terms(Some("Chem"), 1), "lower-case"),
        (Terms { user: Some("a b".to_owned()), ..terms(None, 1) }, "cannot name a user"),
    ] {
        let error = members.invite(hash(1), terms, NOW).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let number = |number: usize| TokenHash([(number / 256) as u8, (number % 256) as u8].repeat(16).try_into().unwrap());
    for at in 0..INVITATIONS_MAX {
        let expires_unix_ms = NOW + 1 + if at == 7 { 0 } else { DAY_MS };
        let changes = members.invite(number(at), Terms { expires_unix_ms, ..terms(None, 1) }, NOW).unwrap();
        members.apply(changes);
    }
    let full = members.invite(hash(1), terms(None, 1), NOW).unwrap_err().to_string();
    assert!(full.contains("no room for more invitations"), "{full}");
    // The one that has expired makes room.
    let changes = members.invite(hash(1), terms(None, 1), NOW + 2).unwrap();
    assert_eq!(changes[0], Change::Forget(number(7)));
}

/// Whatever goes wrong with the disk while an invitation for one is redeemed by two, at most one is in, whoever was told so is in, and the
/// two ends agree after the next start.
#[test]
fn a_crash_loses_no_use_and_doubles_none() {
    let seed = 20_261_128;
    println!("seed {seed}");
    for fault in [Fault::PowerCut, Fault::Broken, Fault::Full] {
        for after in 0..12 {
            let disk = Disk::new(seed + after);
            let mut members = Members::default();
            let invited = members.invite(hash(1), terms(Some("chem"), 1), NOW).unwrap();
            let journal = Journal::open(Db::open_on(disk.backend()).unwrap()).unwrap();
            journal.write_members(&invited).unwrap();
            members.apply(invited);
            disk.fail_after(after, fault);
            let (changes, _) = members.redeem(&join(1, "alice", 1, Some(11)), NOW).unwrap();
            let was_told = journal.write_members(&changes).is_ok();
            drop(journal);
            disk.cut_power();
            disk.heal();
            let journal = Journal::open(Db::open_on(disk.backend()).unwrap()).unwrap();
            let mut members = journal.members().unwrap();
            let is_in = members.user_of(key(1)).is_some();
            assert_eq!(is_in, members.worker(key(11)).is_some(), "{fault:?} after {after}: all or nothing");
            assert!(is_in || !was_told, "{fault:?} after {after}: she was told that she is in");
            let uses_left = members.invites().next().unwrap().1.uses_left();
            assert_eq!(uses_left, u32::from(!is_in), "{fault:?} after {after}");
            // She asks again, not knowing; then bob tries.
            let (changes, _) = members.redeem(&join(1, "alice", 1, Some(11)), NOW).unwrap();
            journal.write_members(&changes).unwrap();
            members.apply(changes);
            let bob = members.redeem(&join(1, "bob", 2, None), NOW).unwrap_err();
            assert_eq!(bob, JoinError::UsedUp { uses: 1 });
            assert_eq!(journal.members().unwrap().users().count(), 1);
        }
    }
}

#[test]
fn members_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pool.redb");
    let members = lab();
    let records = members.users().cloned().map(Record::User);
    let records = records.chain(members.groups().cloned().map(Record::Group));
    let records = records.chain(members.owned().cloned().map(Record::Owned));
    let records = records.chain(members.invites().map(|(hash, invite)| Record::Invite(*hash, invite.clone())));
    let changes: Vec<Change> = records.map(Change::Put).collect();
    {
        let journal = Journal::open(Db::open(&path).unwrap()).unwrap();
        journal.write_members(&changes).unwrap();
        journal.set_private(true).unwrap();
    }
    let journal = Journal::open(Db::open(&path).unwrap()).unwrap();
    let read = journal.members().unwrap();
    assert!(journal.is_private().unwrap());
    assert_eq!(read.users().collect::<Vec<_>>(), members.users().collect::<Vec<_>>());
    assert_eq!(read.groups().collect::<Vec<_>>(), members.groups().collect::<Vec<_>>());
    assert_eq!(read.owned().collect::<Vec<_>>(), members.owned().collect::<Vec<_>>());
    assert_eq!(read.invites().collect::<Vec<_>>(), members.invites().collect::<Vec<_>>());
    journal.write_members(&[Change::Forget(hash(1))]).unwrap();
    assert_eq!(journal.members().unwrap().invites().count(), 1);
}
