use super::*;
use crate::Home;

const STARTED: UnixMillis = UnixMillis(1_795_344_967_000);
const LEASE: UnixMillis = UnixMillis(1_795_344_972_000);

fn call(id: &str) -> (CallRecord, LiveCall) {
    let id = RecordId(id.to_owned());
    let record = CallRecord::started(
        id.clone(),
        Direction::Outgoing,
        "@alice:localtest",
        "600",
        STARTED,
    );
    (record, LiveCall::begun(id, "gateway-1", LEASE))
}

fn matrix_side() -> MatrixSide {
    MatrixSide {
        room_id: "!r".to_owned(),
        call_id: "c1".to_owned(),
        party_id: "mxtrunk".to_owned(),
        virtual_user: "@tel_600:localtest".to_owned(),
        version: "1".to_owned(),
    }
}

#[tokio::test]
async fn a_call_killed_in_the_middle_is_found_with_both_its_sides_after_reopening_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mxtrunk.db");
    let (record, mut live) = call("a");
    let store = Store::open(&path).await.unwrap();
    store.begin_call(&record, &live).await.unwrap();
    live.answered = true;
    live.matrix = Some(matrix_side());
    live.sip_dialog = Some(r#"{"call_id":"x"}"#.to_owned());
    store.update_live(&live).await.unwrap();
    // No close: the process is gone, the file is what there is.
    let reopened = Store::open(&path).await.unwrap();

    assert_eq!(
        reopened
            .orphans("another", UnixMillis(LEASE.0 - 1))
            .await
            .unwrap(),
        []
    );
    let orphans = reopened.orphans("another", LEASE).await.unwrap();
    let [(found, its_live)] = orphans.as_slice() else {
        panic!("one orphan was expected: {orphans:?}");
    };
    assert_eq!((&found.id, its_live), (&record.id, &live));
    assert!(found.answered_at.is_some(), "{found:?}");
}

#[tokio::test]
async fn a_renewed_lease_protects_only_the_calls_of_its_owner() {
    let store = Store::in_memory().await.unwrap();
    let (record, live) = call("mine");
    store.begin_call(&record, &live).await.unwrap();
    let (record, mut live) = call("theirs");
    live.owner = "gateway-2".to_owned();
    store.begin_call(&record, &live).await.unwrap();

    store
        .renew_leases(
            "gateway-1",
            &["mine", "theirs"].map(|id| RecordId(id.to_owned())),
            UnixMillis(LEASE.0 + 5_000),
        )
        .await
        .unwrap();
    let orphans = store.orphans("another", LEASE).await.unwrap();
    assert_eq!(orphans, [(record, live)]);
}

#[tokio::test]
async fn an_owner_that_starts_again_finds_its_own_calls_before_their_lease_is_out() {
    let store = Store::in_memory().await.unwrap();
    let (record, live) = call("mine");
    store.begin_call(&record, &live).await.unwrap();
    let early = UnixMillis(LEASE.0 - 1);
    assert_eq!(
        store.orphans(&live.owner, early).await.unwrap(),
        [(record, live)]
    );
}

#[tokio::test]
async fn a_finished_call_keeps_its_record_and_leaves_no_live_row() {
    let store = Store::in_memory().await.unwrap();
    let (mut record, live) = call("a");
    store.begin_call(&record, &live).await.unwrap();
    record.answered_at = Some(UnixMillis(STARTED.0 + 2_000));
    record.ended_at = Some(UnixMillis(STARTED.0 + 9_000));
    record.ended_by = Some(EndedBy::Callee);
    record.reason = Some("hung_up".to_owned());
    record.sip_status = Some(200);
    record.sip_reason = Some("Q.850;cause=16".into());
    record.sip_warning = Some("399 pbx \"odd\"".into());
    record.transferred_to = Some("1002, +33612345678".into());
    record.forwarded_by = Some("1001".into());
    record.forwarded_to = Some("1002".into());
    record.forwarded_why = Some("no-answer".into());
    record.audio = Some("both".to_owned());
    record.stats = Some("{}".to_owned());
    store.finish_call(&record).await.unwrap();

    assert_eq!(store.records(10).await.unwrap(), [record]);
    assert_eq!(
        store
            .orphans("another", UnixMillis(i64::MAX))
            .await
            .unwrap(),
        []
    );
}

#[tokio::test]
async fn a_late_update_does_not_revive_a_finished_call() {
    let store = Store::in_memory().await.unwrap();
    let (record, live) = call("a");
    store.begin_call(&record, &live).await.unwrap();
    store.finish_call(&record).await.unwrap();
    store.update_live(&live).await.unwrap();
    assert_eq!(
        store
            .orphans("another", UnixMillis(i64::MAX))
            .await
            .unwrap(),
        []
    );
}

#[tokio::test]
async fn a_call_that_was_begun_after_all_may_be_begun_again_and_stays_as_it_was() {
    let store = Store::in_memory().await.unwrap();
    let (record, live) = call("a");
    store.begin_call(&record, &live).await.unwrap();
    let mut other = record.clone();
    other.number = "601".to_owned();
    store.begin_call(&other, &live).await.unwrap();
    assert_eq!(
        store.records(10).await.unwrap(),
        std::slice::from_ref(&record)
    );
    store.finish_call(&record).await.unwrap();
    store.begin_call(&record, &live).await.unwrap();
    let orphans = store.orphans(&live.owner, LEASE).await.unwrap();
    assert_eq!(orphans, [], "a finished call was revived");
}

#[tokio::test]
async fn records_come_newest_first_and_no_more_than_asked_for() {
    let store = Store::in_memory().await.unwrap();
    for n in 0..3 {
        let (mut record, live) = call(&n.to_string());
        record.started_at = UnixMillis(STARTED.0 + n);
        store.begin_call(&record, &live).await.unwrap();
    }
    let records = store.records(2).await.unwrap();
    let ids: Vec<_> = records.iter().map(|record| record.id.0.as_str()).collect();
    assert_eq!(ids, ["2", "1"]);
}

#[tokio::test]
async fn an_answer_is_in_the_record_at_once_and_stays_when_the_call_is_killed() {
    let store = Store::in_memory().await.unwrap();
    let (record, mut live) = call("a");
    store.begin_call(&record, &live).await.unwrap();
    live.answered = true;
    store.update_live(&live).await.unwrap();
    let answered_at = store.records(1).await.unwrap()[0].answered_at;
    assert!(answered_at.is_some());
    store.update_live(&live).await.unwrap();
    assert_eq!(store.records(1).await.unwrap()[0].answered_at, answered_at);
}

#[tokio::test]
async fn an_update_does_not_take_a_renewed_lease_back() {
    let store = Store::in_memory().await.unwrap();
    let (record, live) = call("a");
    store.begin_call(&record, &live).await.unwrap();
    let renewed = UnixMillis(LEASE.0 + 5_000);
    let held = [record.id.clone()];
    store
        .renew_leases(&live.owner, &held, renewed)
        .await
        .unwrap();
    store.update_live(&live).await.unwrap();
    assert_eq!(store.orphans("another", LEASE).await.unwrap(), []);
}

#[tokio::test]
async fn the_lease_of_a_row_that_outlived_its_call_runs_out() {
    let store = Store::in_memory().await.unwrap();
    let (record, live) = call("over");
    store.begin_call(&record, &live).await.unwrap();
    let (up, up_live) = call("up");
    store.begin_call(&up, &up_live).await.unwrap();
    for held in [vec![up.id.clone()], vec![]] {
        let renewed = UnixMillis(LEASE.0 + 5_000);
        store
            .renew_leases(&live.owner, &held, renewed)
            .await
            .unwrap();
        let orphans = store.orphans("another", LEASE).await.unwrap();
        assert_eq!(orphans, [(record.clone(), live.clone())]);
    }
}

#[tokio::test]
async fn a_call_whose_beginning_was_not_written_is_in_the_records_once_it_is_over() {
    let store = Store::in_memory().await.unwrap();
    let (mut record, _) = call("a");
    record.ended_at = Some(UnixMillis(STARTED.0 + 9_000));
    record.reason = Some("hung_up".to_owned());
    let home = Home {
        history: Some("!history".to_owned()),
        settled: true,
        ..Home::nowhere(record.user.as_str())
    };
    store.put_home(&home).await.unwrap();
    store.finish_call(&record).await.unwrap();
    assert_eq!(store.records(10).await.unwrap(), [record]);
    assert_eq!(store.count_untold(UnixMillis(0)).await.unwrap(), 1);
}

#[tokio::test]
async fn an_orphan_s_end_is_kept_while_its_sides_are_still_to_be_told() {
    let store = Store::in_memory().await.unwrap();
    let (mut record, live) = call("a");
    store.begin_call(&record, &live).await.unwrap();
    record.ended_at = Some(UnixMillis(STARTED.0 + 9_000));
    store.complete_record(&record).await.unwrap();
    let left = store.orphans(&live.owner, LEASE).await.unwrap();
    assert_eq!(left, [(record, live)]);
}

#[tokio::test]
async fn where_a_call_was_forwarded_to_is_in_the_record_while_it_lives() {
    let store = Store::in_memory().await.unwrap();
    let (mut record, live) = call("a");
    store.begin_call(&record, &live).await.unwrap();
    let put = store.put_forwarded_to(&record.id, "600", "user-busy");
    put.await.unwrap();
    record.forwarded_to = Some("600".into());
    record.forwarded_why = Some("user-busy".into());
    assert_eq!(store.records(1).await.unwrap(), [record]);
}
