//! A database of each version that there ever was is taken over with all that it holds.

use std::path::Path;

use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};
use sqlx::{AssertSqlSafe, Row as _};

use crate::{
    CallRecord, Direction, LineSettings, LiveCall, RecordId, Store, UnixMillis, VirtualUser, Wanted,
};

/// Of each table: one that leaves out all that may be left out, and those that do not.
const ROWS: usize = 3;

/// All records.
const EVERY: Wanted = Wanted {
    after: 0,
    since: UnixMillis(0),
    until: UnixMillis(i64::MAX),
    limit: 100,
};

/// What there is from one version on, with the rows that a test has put into it.
struct Before {
    tables: Vec<Table>,
    has: Vec<String>,
}

/// A table, and all that it held.
struct Table {
    name: String,
    columns: Vec<String>,
    rows: Vec<String>,
}

struct Column {
    name: String,
    kind: String,
    must: bool,
}

fn migrations_up_to(version: i64) -> Migrator {
    let mut migrator = sqlx::migrate!();
    let migrations = migrator.migrations.to_mut();
    migrations.retain(|migration| migration.version <= version);
    migrator
}

fn versions() -> Vec<i64> {
    let migrator = sqlx::migrate!();
    migrator.iter().map(|migration| migration.version).collect()
}

/// Without foreign keys, so that tables may be filled in any order.
async fn pool(path: &Path) -> SqlitePool {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .foreign_keys(false);
    SqlitePool::connect_with(options).await.unwrap()
}

async fn columns_of(pool: &SqlitePool, table: &str) -> Vec<Column> {
    let asked = AssertSqlSafe(format!("PRAGMA table_info({table})"));
    let rows = sqlx::query(asked).fetch_all(pool).await.unwrap();
    let column = |row: &sqlx::sqlite::SqliteRow| Column {
        name: row.get("name"),
        kind: row.get("type"),
        must: row.get::<i64, _>("notnull") == 1,
    };
    rows.iter().map(column).collect()
}

async fn rows_of(pool: &SqlitePool, table: &str, columns: &[String]) -> Vec<String> {
    let quoted: Vec<String> = columns
        .iter()
        .map(|name| format!("quote({name})"))
        .collect();
    let quoted = quoted.join(" || ', ' || ");
    let asked = AssertSqlSafe(format!("SELECT {quoted} FROM {table} ORDER BY 1"));
    sqlx::query_scalar(asked).fetch_all(pool).await.unwrap()
}

/// What row `n` of a table holds, as SQL: by hand where a reader refuses what is made up, or where rows belong together.
fn value(table: &str, column: &Column, n: usize) -> Option<String> {
    if n == 0 && !column.must {
        return None;
    }
    let text = |text: String| Some(format!("'{text}'"));
    match (table, column.name.as_str()) {
        // The database gives it out itself.
        ("call_records", "position") => None,
        ("call_records", "id") | (_, "record_id") => text(format!("call {n}")),
        (_, "direction") => text(["incoming", "outgoing"][n % 2].into()),
        (_, "ended_by") => text(["caller", "callee", "gateway"][n].into()),
        ("virtual_users", "user_id") | (_, "virtual_user") => text(format!("@tel_60{n}:localtest")),
        (_, "user_id") => text(format!("@user{n}:localtest")),
        (_, "number") => text(format!("60{n}")),
        (_, "language") => text("fr".into()),
        (_, "settled" | "answered") => Some("1".into()),
        // Begun is told, the end is not.
        ("history", "due") => Some("3".into()),
        ("history", "told") => Some("1".into()),
        (_, "in_space" | "replaced" | "told_encrypted" | "pushed") => Some("0".into()),
        (_, "sip_status") => Some("486".into()),
        _ if column.kind == "INTEGER" => Some((n + 1).to_string()),
        _ => text(format!("{} {n}", column.name)),
    }
}

/// Makes a database of a version, and puts something into each of its tables.
async fn made(path: &Path, version: i64) -> Before {
    let pool = pool(path).await;
    migrations_up_to(version).run(&pool).await.unwrap();
    let names: Vec<String> = sqlx::query_scalar(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite!_%' ESCAPE '!' AND name NOT LIKE '!_%' ESCAPE '!'",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    // It has its one row from the beginning, and counts the records.
    let filled = names.iter().filter(|name| *name != "last_position");
    for table in filled {
        let columns = columns_of(&pool, table).await;
        for n in 0..ROWS {
            let values = columns.iter().filter_map(|column| {
                value(table, column, n).map(|value| (column.name.as_str(), value))
            });
            let (names, values): (Vec<&str>, Vec<String>) = values.unzip();
            let (names, values) = (names.join(", "), values.join(", "));
            let put = format!("INSERT INTO {table} ({names}) VALUES ({values})");
            let put = sqlx::query(AssertSqlSafe(put)).execute(&pool).await;
            put.unwrap_or_else(|error| panic!("{version}: {table}: {error}"));
        }
    }
    let mut tables = Vec::new();
    for name in &names {
        let columns = columns_of(&pool, name).await;
        let columns: Vec<String> = columns.into_iter().map(|column| column.name).collect();
        let rows = rows_of(&pool, name, &columns).await;
        tables.push(Table {
            name: name.clone(),
            columns,
            rows,
        });
    }
    pool.close().await;
    Before { tables, has: names }
}

/// Nothing that was written by an earlier version is other than it was. A migration that is to change or to drop something
/// has to say so here.
async fn holds_all_of(store: &Store, before: &Before, version: i64) {
    for table in &before.tables {
        let now = rows_of(&store.pool, &table.name, &table.columns).await;
        // Where it goes on counting is another test's matter.
        if table.name != "last_position" {
            assert_eq!(now, table.rows, "{} of version {version}", table.name);
        }
    }
    let loose = sqlx::query("PRAGMA foreign_key_check");
    let loose = loose.fetch_all(&store.pool).await.unwrap();
    assert!(loose.is_empty(), "version {version} has loose ends");
}

/// All that can be read is read without an error, and is there as far as the version knew of it.
async fn reads_all_of(store: &Store, before: &Before, version: i64) {
    let had = |table: &str| match before.has.iter().any(|name| name == table) {
        true => ROWS,
        false => 0,
    };
    let found = |what: &str, count: usize, expected: usize| {
        assert_eq!(count, expected, "{what} of version {version}");
    };
    let (user, tel) = ("@user1:localtest", "@tel_601:localtest");
    assert!(store.is_transaction_seen("id 1").await.unwrap());
    assert!(store.virtual_user(tel).await.unwrap().is_some());
    let bare = store.users_without_picture("mxc://x/1", 9).await.unwrap();
    found("virtual users", bare.len(), ROWS);
    found("rooms", store.rooms_of(user, tel).await.unwrap().len(), 1);
    found("rooms", store.rooms_of_user(user).await.unwrap().len(), 1);
    assert!(store.room("room_id 1").await.unwrap().is_some());

    found("records", store.records(9).await.unwrap().len(), ROWS);
    found("records", store.records_of(user, 9).await.unwrap().len(), 1);
    found("lines", store.last_calls().await.unwrap().len(), ROWS);
    let page = store.records_page(&EVERY).await.unwrap();
    found("records", page.len(), ROWS);
    // The first is in progress.
    found("records", store.unpushed(9).await.unwrap().len(), ROWS - 1);
    assert!(store.are_all_older(UnixMillis(99)).await.unwrap());
    let orphans = store.orphans("owner 1", UnixMillis(99)).await.unwrap();
    found("live calls", orphans.len(), ROWS);
    assert!(store.is_in_call(user).await.unwrap());

    let home = store.home(user).await.unwrap();
    found(
        "homes",
        store.settled_homes().await.unwrap().len(),
        had("homes"),
    );
    assert_eq!(home.is_some(), had("homes") > 0, "version {version}");
    assert_eq!(home, store.home_with("space_id 1").await.unwrap());
    // Those of the person whose space is not made yet stay outside.
    let outside = store.rooms_outside(9).await.unwrap().len();
    found("rooms outside", outside, had("homes").saturating_sub(1));
    let untold = store.untold(UnixMillis(0), 9, &[]).await.unwrap();
    found("untold", untold.len(), had("history").saturating_sub(1));
    let mailbox = store.mailbox(user).await.unwrap();
    assert_eq!(mailbox.is_some(), had("mailboxes") > 0);

    found("lines", store.lines().await.unwrap().len(), had("lines"));
    store.at_pbx(user).await.unwrap();
    let room = store.command_room("room_id 1").await.unwrap();
    assert_eq!(room.is_some(), had("command_rooms") > 0);
    let rooms = store.command_rooms_of(user).await.unwrap();
    found("command rooms", rooms.len(), had("command_rooms").min(1));
    let upload = store.upload("digest 1").await.unwrap();
    assert_eq!(upload.is_some(), had("uploads") > 0);
}

/// A call comes and goes, and a person sets something.
async fn goes_on(store: &Store) {
    let (id, at) = (RecordId("new".into()), UnixMillis(50));
    let user = "@user1:localtest";
    let mut record = CallRecord::started(id.clone(), Direction::Incoming, user, "600", at);
    let live = LiveCall::begun(id, "one", at);
    store.begin_call(&record, &live).await.unwrap();
    record.ended_at = Some(UnixMillis(60));
    store.finish_call(&record).await.unwrap();
    assert_eq!(store.records(1).await.unwrap(), [record]);
    let settings = LineSettings {
        do_not_disturb: true,
        ..LineSettings::default()
    };
    store.put_line(user, &settings).await.unwrap();
    assert_eq!(store.lines().await.unwrap()[user], settings);
    let virtual_user = VirtualUser {
        user_id: "@tel_601:localtest".into(),
        number: "601".into(),
        display_name: "Echo".into(),
    };
    store.put_virtual_user(&virtual_user).await.unwrap();
    store.mark_transaction_seen("new").await.unwrap();
}

#[tokio::test]
async fn a_database_of_each_version_is_taken_over_with_all_that_it_holds() {
    for version in versions() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mxtrunk.db");
        let before = made(&path, version).await;
        let store = Store::open(&path).await.unwrap();
        holds_all_of(&store, &before, version).await;
        reads_all_of(&store, &before, version).await;
        goes_on(&store).await;
        store.close().await;
        Store::open(&path).await.unwrap().close().await;
    }
}

#[tokio::test]
async fn a_place_that_a_tool_has_kept_from_an_earlier_version_leaves_out_what_it_has_read_and_nothing_else()
 {
    for version in versions().into_iter().filter(|version| *version < 90) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mxtrunk.db");
        made(&path, version).await;
        // The last one was read, and then erased: what comes next would have had its rowid.
        let pool = pool(&path).await;
        let kept = "SELECT rowid FROM call_records WHERE id = 'call 2'";
        let after: i64 = sqlx::query_scalar(kept).fetch_one(&pool).await.unwrap();
        let erased = sqlx::query("DELETE FROM call_records WHERE id = 'call 2'");
        erased.execute(&pool).await.unwrap();
        pool.close().await;

        let store = Store::open(&path).await.unwrap();
        let page = Wanted { after: 1, ..EVERY };
        let page = store.records_page(&page).await.unwrap();
        assert_eq!(page[0].1.id.0, "call 1", "version {version}");
        goes_on(&store).await;
        let page = Wanted { after, ..EVERY };
        let page = store.records_page(&page).await.unwrap();
        let ids: Vec<&str> = page
            .iter()
            .map(|(_, record)| record.id.0.as_str())
            .collect();
        assert_eq!(ids, ["new"], "version {version}");
    }
}
