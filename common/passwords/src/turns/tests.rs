//! Nothing here waits or hashes: a slot is given, kept and dropped by the test.

use super::*;

const PLACES: usize = 64;

/// A client at an IPv4 address, with the ranges and factors of ruling 35.
fn at(address: &str) -> Requester {
    let (network, _) = address.rsplit_once('.').unwrap();
    Requester { ranges: vec![(address.to_owned(), 1), (format!("{network}.0/24"), 5)], known: None }
}

/// A client at an IPv6 address, by the numbers of its /48, its /56 in that, and its /64 in that.
fn at_v6(of_48: u8, of_56: u8, of_64: u8) -> Requester {
    let range = |range: String, times| (range, times);
    Requester {
        ranges: vec![
            range(format!("{of_48} {of_56} {of_64}/64"), 1),
            range(format!("{of_48} {of_56}/56"), 3),
            range(format!("{of_48}/48"), 10),
        ],
        known: None,
    }
}

fn known(address: &str, person: &str) -> Requester {
    Requester { known: Some(person.to_owned()), ..at(address) }
}

#[track_caller]
fn now(turn: Option<Turn>) -> Slot {
    match turn {
        Some(Turn::Now(slot)) => slot,
        Some(Turn::Later(_)) => panic!("it has to wait"),
        None => panic!("it is refused"),
    }
}

#[track_caller]
fn later(turn: Option<Turn>) -> Waiting {
    match turn {
        Some(Turn::Later(waiting)) => waiting,
        Some(Turn::Now(_)) => panic!("it has a slot"),
        None => panic!("it is refused"),
    }
}

/// Those of the requesters that got a place. None may get a slot.
fn waiting(turns: &Turns, requesters: impl IntoIterator<Item = Requester>) -> Vec<Waiting> {
    requesters.into_iter().filter_map(|r| turns.ask(r)).map(|turn| later(Some(turn))).collect()
}

fn has_begun(waiting: &mut Waiting) -> Option<Slot> {
    waiting.begun.try_recv().ok()
}

/// All slots for anybody, held by networks that no test uses otherwise.
fn busy(turns: &Turns, slots: usize) -> Vec<Slot> {
    (0..slots).map(|n| now(turns.ask(at(&format!("10.0.{n}.1"))))).collect()
}

#[test]
fn f07_one_address_takes_only_its_share_of_the_waiting_places() {
    let turns = Turns::new(2, PLACES);
    let slots = busy(&turns, 2);
    let own = waiting(&turns, (0..20).map(|_| at("203.0.113.9")));
    assert_eq!(own.len(), 8, "an eighth of the places");
    assert_eq!(waiting(&turns, [at("203.0.113.10")]).len(), 1);
    drop(own);
    assert_eq!(waiting(&turns, [at("203.0.113.9")]).len(), 1, "a place is free again");
    drop(slots);
    assert!(turns.are_all_free());
}

#[test]
fn f07_one_network_takes_only_half_of_the_waiting_places() {
    let turns = Turns::new(2, PLACES);
    let _slots = busy(&turns, 2);
    let five = (0..100).map(|n| at(&format!("203.0.113.{}", n % 5)));
    let network = waiting(&turns, five);
    assert!(turns.ask(at("203.0.113.99")).is_none(), "nor has another address of it a place");
    let others = waiting(&turns, (0..100).map(|n| at(&format!("198.51.{n}.1"))));
    assert_eq!(others.len(), 16, "the rest but a quarter, which is kept for known devices");
    assert_eq!(network.len(), 32);
}

#[test]
fn f07_the_ranges_of_ipv6_have_their_shares_too() {
    let turns = Turns::new(2, PLACES);
    let _slots = busy(&turns, 2);
    let of_64 = waiting(&turns, (0..50).map(|_| at_v6(0, 0, 0)));
    let of_56 = waiting(&turns, (0..50).map(|n| at_v6(0, 0, 1 + n)));
    assert_eq!((of_64.len(), of_56.len()), (8, 16), "a /56 has three times the share of a /64");
    assert_eq!(waiting(&turns, (0..50).map(|n| at_v6(0, 1 + n, 0))).len(), 8, "a /48 has half");
    assert_eq!(waiting(&turns, [at_v6(1, 0, 0)]).len(), 1);
}

#[test]
fn f07_one_network_takes_only_half_of_the_slots() {
    for (slots, half) in [(2, 1), (3, 2), (4, 2), (8, 4)] {
        let turns = Turns::new(slots, PLACES);
        let mut own: Vec<_> =
            (0..half).map(|n| now(turns.ask(at(&format!("203.0.113.{n}"))))).collect();
        let mut first = later(turns.ask(at("203.0.113.77")));
        let mut second = later(turns.ask(at("203.0.113.78")));
        let others: Vec<_> =
            (half..slots).map(|n| now(turns.ask(at(&format!("198.51.{n}.1"))))).collect();
        drop(others);
        assert!(has_begun(&mut first).is_none(), "a free slot is not for it");
        drop(own.pop());
        let begun = has_begun(&mut first).expect("a slot of its own share");
        assert!(has_begun(&mut second).is_none());
        drop(begun);
        assert!(has_begun(&mut second).is_some());
    }
}

#[test]
fn f07_strangers_keep_no_known_device_out() {
    let turns = Turns::new(2, PLACES);
    let mut slots = busy(&turns, 2);
    let mut strangers = waiting(&turns, (0..200).map(|n| at(&format!("203.0.{n}.1"))));
    assert_eq!(strangers.len(), 48);
    let first = now(turns.ask(known("203.0.0.1", "ada")));
    let mut next = later(turns.ask(known("203.0.0.1", "ada")));
    let mut after = later(turns.ask(known("203.0.1.1", "bob")));
    drop(first);
    assert!(strangers.iter_mut().all(|stranger| has_begun(stranger).is_none()), "not for them");
    let second = has_begun(&mut next).expect("the kept slot");
    assert!(has_begun(&mut after).is_none());
    // Where strangers have slots, a known device takes its turn among them.
    drop(slots.pop());
    assert!(has_begun(&mut strangers[0]).is_some());
    drop(second);
    assert!(has_begun(&mut after).is_some());
}

#[test]
fn f07_one_person_takes_only_a_share_of_what_is_kept_for_known_devices() {
    let turns = Turns::new(2, PLACES);
    let _slots = busy(&turns, 2);
    let _strangers = waiting(&turns, (0..200).map(|n| at(&format!("203.0.{n}.1"))));
    let kept = now(turns.ask(known("192.0.2.1", "eve")));
    let mut eves = waiting(&turns, (0..20).map(|n| known(&format!("192.0.{n}.2"), "eve")));
    assert_eq!(eves.len(), 2);
    let mut ada = later(turns.ask(known("192.0.2.3", "ada")));
    let persons = (0..100).map(|n| known(&format!("192.0.{n}.4"), &format!("person {n}")));
    let others = waiting(&turns, persons);
    assert!(turns.ask(known("192.0.2.5", "bob")).is_none(), "16 places are kept");
    assert_eq!(others.len(), 13);
    drop(kept);
    let slot = has_begun(&mut eves[0]).expect("she came first");
    drop(slot);
    assert!(has_begun(&mut ada).is_some(), "and has one turn before the others");
    assert!(has_begun(&mut eves[1]).is_none());
}

#[test]
fn f07_networks_take_turns() {
    let turns = Turns::new(2, PLACES);
    let own = now(turns.ask(at("203.0.113.1")));
    let other = now(turns.ask(at("198.51.100.1")));
    let mut many = waiting(&turns, (0..20).map(|n| at(&format!("203.0.113.{n}"))));
    let mut more = waiting(&turns, (0..20).map(|n| at(&format!("198.51.100.{n}"))));
    let mut late = later(turns.ask(at("192.0.2.1")));
    drop(own);
    let own = has_begun(&mut many[0]).expect("the first in turn");
    drop(own);
    let lates = has_begun(&mut late).expect("the last to come, before the second of a network");
    drop(other);
    assert!(has_begun(&mut more[0]).is_some());
    drop(lates);
    assert!(has_begun(&mut many[1]).is_some());
}

#[test]
fn a_caller_that_goes_away_leaves_its_place_and_its_slot() {
    let turns = Turns::new(1, PLACES);
    let slot = now(turns.ask(at("192.0.2.1")));
    let gone = later(turns.ask(at("192.0.2.2")));
    let chosen = later(turns.ask(at("192.0.2.3")));
    let mut last = later(turns.ask(at("192.0.2.4")));
    drop(gone);
    drop(slot);
    // It was given the slot, and goes before it takes it.
    drop(chosen);
    assert!(has_begun(&mut last).is_some());
    drop(last);
    assert!(turns.are_all_free());
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_does_not_come_in_time_is_none() {
    let turns = Turns::new(1, PLACES);
    let slot = now(turns.ask(at("192.0.2.1")));
    assert!(turns.slot(at("192.0.2.2"), Duration::from_secs(2)).await.is_none());
    drop(slot);
    assert!(turns.slot(at("192.0.2.2"), Duration::from_secs(2)).await.is_some());
    assert!(turns.are_all_free());
}
