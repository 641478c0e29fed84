use std::net::IpAddr;

use super::*;
use crate::config::{Transport, TrunkConfig};
use crate::event::{EndCause, Happened};
use crate::snapshot::tests::sample;

const PBX: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

fn trunk() -> Arc<Trunk> {
    let config = TrunkConfig::new("pbx", (PBX, 5060).into());
    Arc::new(Trunk::new(config))
}

fn from(ip: IpAddr) -> Hop {
    Hop {
        transport: Transport::Udp,
        address: (ip, 5060).into(),
    }
}

fn key() -> DialogKey {
    DialogKey {
        call_id: sample().call_id,
        local_tag: sample().local_tag,
    }
}

#[test]
fn a_leg_is_found_until_its_place_is_given_back() {
    let (events, _reader) = mpsc::channel(4);
    let (legs, trunk) = (Arc::new(Legs::new(1)), trunk());
    let entered = legs.enter(LegId(1), Priority::Normal, &trunk, sample(), None, &events);
    let (place, _inbox) = entered.expect("the first place");
    assert!(legs.of_dialog(&key(), from(PBX)).is_some());
    assert_eq!(legs.dialog(LegId(1)), Some(sample()));
    let second = legs.enter(LegId(2), Priority::Normal, &trunk, sample(), None, &events);
    assert!(matches!(second, Err(NoEntry::Full)));
    drop(place);
    assert!(legs.of_dialog(&key(), from(PBX)).is_none());
    assert_eq!(legs.len(), 0);
}

#[test]
fn an_emergency_call_finds_a_place_where_all_are_taken() {
    let (events, _reader) = mpsc::channel(4);
    let mut config = TrunkConfig::new("pbx", (PBX, 5060).into());
    config.max_calls = 1;
    let trunk = Arc::new(Trunk::new(config));
    let legs = Arc::new(Legs::new(1));
    let enter = |id, priority| legs.enter(LegId(id), priority, &trunk, sample(), None, &events);
    let first = enter(1, Priority::Normal).expect("the first place");
    assert!(matches!(enter(2, Priority::Normal), Err(NoEntry::Full)));
    let emergency = enter(3, Priority::Emergency).expect("a place for help");
    assert_eq!(legs.len(), 2);
    drop((first, emergency));
    // Both places count as given back.
    assert!(enter(4, Priority::Normal).is_ok());
}

#[test]
fn an_address_of_another_trunk_does_not_reach_the_dialog() {
    let (events, _reader) = mpsc::channel(4);
    let (legs, trunk) = (Arc::new(Legs::new(9)), trunk());
    let _leg = legs.enter(LegId(1), Priority::Normal, &trunk, sample(), None, &events);
    let elsewhere = IpAddr::from([192, 0, 2, 2]);
    assert!(legs.of_dialog(&key(), from(elsewhere)).is_none());
}

#[test]
fn a_dialog_over_tls_is_not_reached_without() {
    let (events, _reader) = mpsc::channel(4);
    let mut config = TrunkConfig::new("pbx", (PBX, 5061).into());
    config.transport = Transport::Tls;
    let (legs, trunk) = (Arc::new(Legs::new(9)), Arc::new(Trunk::new(config)));
    let _leg = legs.enter(LegId(1), Priority::Normal, &trunk, sample(), None, &events);
    assert!(legs.of_dialog(&key(), from(PBX)).is_none());
    let over_tls = Hop {
        transport: Transport::Tls,
        ..from(PBX)
    };
    assert!(legs.of_dialog(&key(), over_tls).is_some());
}

#[test]
fn a_leg_that_dies_in_silence_is_reported() {
    let (events, mut reader) = mpsc::channel(4);
    let (legs, trunk) = (Arc::new(Legs::new(9)), trunk());
    let (place, _inbox) = legs
        .enter(LegId(1), Priority::Normal, &trunk, sample(), None, &events)
        .expect("a place");
    drop(place);
    let event = reader.try_recv().expect("an event");
    assert_eq!(event.leg, LegId(1));
    assert!(matches!(
        event.what,
        Happened::Ended {
            cause: EndCause::Fault,
            ..
        }
    ));
}
