//! Against a PBX that keeps a database in memory, and may refuse some of what it is asked.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use mxtrunk_ami::{AmiConfig, Secret, Standing};
use mxtrunk_sip::{AccountName, TrunkName};
use ruma::UserId;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::super::Families;
use super::*;
use crate::classes::Class;
use crate::directory::Account;
use crate::limits::Limits;
use crate::numbers::NumberPlan;
use crate::trunks::LiveTrunks;

#[derive(Debug, Default)]
struct Held {
    /// `FAMILY/KEY`, and what stands there.
    database: HashMap<String, String>,
    devices: HashMap<String, String>,
    refuses: Option<&'static str>,
}

type Pbx = Arc<Mutex<Held>>;

/// One connection of the fake.
async fn serve(stream: TcpStream, held: Pbx) -> std::io::Result<()> {
    let (reading, mut writing) = stream.into_split();
    writing
        .write_all(b"Asterisk Call Manager/11.0.0\r\n")
        .await?;
    let mut lines = BufReader::new(reading).lines();
    let mut fields = HashMap::new();
    while let Some(line) = lines.next_line().await? {
        if let Some((name, value)) = line.split_once(": ") {
            fields.insert(name.to_owned(), value.to_owned());
            continue;
        }
        let answer = held.lock().expect("not poisoned").answer(&fields);
        let id = &fields["ActionID"];
        let answer = answer.replace("\r\n", &format!("\r\nActionID: {id}\r\n"));
        writing
            .write_all(answer.replace('|', "\r\n").as_bytes())
            .await?;
        fields.clear();
    }
    Ok(())
}

impl Held {
    /// `|` ends a line within a message, and the end of each first line brings the id.
    fn answer(&mut self, fields: &HashMap<String, String>) -> String {
        let field = |name: &str| fields.get(name).cloned().unwrap_or_default();
        let at = format!("{}/{}", field("Family"), field("Key"));
        let good = "Response: Success\r\n|".to_owned();
        let missing = "Response: Error\r\nMessage: Database entry not found||".to_owned();
        match field("Action").as_str() {
            action if self.refuses == Some(action) => {
                "Response: Error\r\nMessage: Permission denied||".to_owned()
            }
            "Challenge" => "Response: Success\r\nChallenge: 1||".to_owned(),
            "DBGet" => match self.database.get(&at) {
                Some(value) => format!("{good}Event: DBGetResponse\r\nVal: {value}||"),
                None => missing,
            },
            "DBPut" => {
                self.database.insert(at, field("Val"));
                good
            }
            "DBDel" => match self.database.remove(&at) {
                Some(_) => good,
                None => missing,
            },
            "Setvar" => {
                self.devices.insert(field("Variable"), field("Value"));
                good
            }
            _ => good,
        }
    }
}

struct Site {
    pbx: Pbx,
    ami: Ami,
    settings: AtPbxSettings,
    store: Store,
    line_settings: Settings,
    directory: Directory,
    _stop: DropGuard,
}

const ALICE: &str = "@alice:x";

fn directory(extension: &str) -> Directory {
    let plan = NumberPlan::french();
    let line = |user: &str, extension: &str| {
        let user = UserId::parse(user).expect("a test user");
        let extension = plan.normalise(extension).expect("a test number");
        let account = Account {
            trunk: TrunkName("pbx".into()),
            name: AccountName(extension.to_string()),
        };
        let account = Some(account);
        Line {
            account,
            ..Line::new(user, extension)
        }
    };
    let lines = vec![line(ALICE, extension), line("@bob:x", "2002")];
    Directory::new(NumberPlan::french(), lines).expect("a directory")
}

impl Site {
    async fn start() -> Site {
        let pbx = Pbx::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = listener.local_addr().expect("bound").to_string();
        let held = pbx.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, held.clone()));
            }
        });
        let stop = CancellationToken::new();
        let config = AmiConfig {
            address,
            username: "mxtrunk".into(),
            secret: Secret::new("s"),
            tls: None,
        };
        let ami = Ami::start(config, stop.clone());
        let mut standing = ami.standing();
        let ready = standing.wait_for(|standing| matches!(standing, Standing::Ready(_)));
        ready.await.expect("it logs in");
        let store = Store::in_memory().await.expect("a store");
        Site {
            pbx,
            ami,
            settings: AtPbxSettings {
                trunk: None,
                families: Families {
                    do_not_disturb: Some("DND".into()),
                    forward_always: Some("CF".into()),
                    forward_busy: Some("CFB".into()),
                    forward_no_answer: Some("CFU".into()),
                },
                do_not_disturb_on: "YES".into(),
                do_not_disturb_state: Some("Custom:DND{extension}".into()),
                busy_state: None,
                trunks: LiveTrunks::default(),
            },
            line_settings: Settings::load(&store).await.expect("loaded"),
            store,
            directory: directory("2001"),
            _stop: stop.drop_guard(),
        }
    }

    fn sides(&self) -> Sides<'_> {
        Sides {
            ami: &self.ami,
            settings: &self.settings,
            store: &self.store,
            line_settings: &self.line_settings,
        }
    }

    async fn settle(&self) -> Result<(), Trouble> {
        let agreements = self.sides().agreements().await?;
        let user = UserId::parse(ALICE).expect("a test user");
        let line = self.directory.line_of(&user).expect("a line");
        let sides = self.sides();
        let settled = sides.settle(&self.directory, line, agreements).await;
        self.sides().all_are_agreed().await?;
        settled
    }

    async fn set(&self, change: impl FnOnce(&mut LineSettings)) {
        let user = UserId::parse(ALICE).expect("a test user");
        let changed = self.line_settings.change(&user, change).await;
        changed.expect("kept");
    }

    /// What is configured of Alice's line is another from now on.
    fn reload(&mut self, change: impl FnOnce(&mut Line)) {
        let mut lines = self.directory.lines().to_vec();
        change(&mut lines[0]);
        let directory = Directory::new(NumberPlan::french(), lines);
        self.directory = directory.expect("a directory");
    }

    fn here(&self) -> LineSettings {
        let user = UserId::parse(ALICE).expect("a test user");
        self.line_settings.of(&user)
    }

    fn there(&self, at: &str) -> Option<String> {
        self.pbx
            .lock()
            .expect("not poisoned")
            .database
            .get(at)
            .cloned()
    }

    fn at_telephone(&self, act: impl FnOnce(&mut Held)) {
        act(&mut self.pbx.lock().expect("not poisoned"));
    }
}

#[tokio::test]
async fn do_not_disturb_is_switched_off_at_a_telephone_though_the_pbx_refuses_device_states() {
    let site = Site::start().await;
    site.settle().await.expect("settled");
    site.at_telephone(|pbx| pbx.refuses = Some("Setvar"));
    site.set(|settings| {
        settings.do_not_disturb = true;
        settings.forward_busy = Some("2002".into());
    })
    .await;
    let refused = site.settle().await;
    assert!(
        matches!(refused, Err(Trouble::Ask(AskError::Refused(_)))),
        "{refused:?}"
    );
    assert_eq!(site.there("DND/2001").as_deref(), Some("YES"));
    assert_eq!(site.there("CFB/2001").as_deref(), Some("2002"));
    site.at_telephone(|pbx| _ = pbx.database.remove("DND/2001"));
    site.settle().await.expect("settled");
    assert!(!site.here().do_not_disturb);
    assert_eq!(site.there("DND/2001"), None);
}

#[tokio::test]
async fn what_the_pbx_refuses_of_one_setting_keeps_no_other_from_being_agreed_on() {
    let site = Site::start().await;
    site.set(|settings| settings.do_not_disturb = true).await;
    site.settle().await.expect("settled");
    // Do not disturb is taken off at the telephone, while what is set here for busy cannot be written.
    site.at_telephone(|pbx| {
        pbx.database.remove("DND/2001");
        pbx.refuses = Some("DBPut");
    });
    site.set(|settings| settings.forward_busy = Some("2002".into()))
        .await;
    let user = UserId::parse(ALICE).expect("a test user");
    let line = site.directory.line_of(&user).expect("a line");
    let sides = site.sides();
    let settled = sides.settle(&site.directory, line, Agreements::Hold).await;
    assert!(settled.is_err());
    assert!(!site.here().do_not_disturb);
    // It is on again at the telephone, and off here: the telephone's is newer, as what was agreed on says.
    site.at_telephone(|pbx| _ = pbx.database.insert("DND/2001".into(), "YES".into()));
    assert!(site.settle().await.is_err());
    assert!(site.here().do_not_disturb);
}

#[tokio::test]
async fn a_line_that_moves_to_another_extension_keeps_what_its_person_has_set() {
    let mut site = Site::start().await;
    site.set(|settings| settings.forward_always = Some("2002".into()))
        .await;
    site.settle().await.expect("settled");
    site.directory = directory("2003");
    site.settle().await.expect("settled");
    assert_eq!(site.here().forward_always.as_deref(), Some("2002"));
    assert_eq!(site.there("CF/2003").as_deref(), Some("2002"));
}

#[tokio::test]
async fn a_pbx_whose_database_was_wiped_erases_no_settings() {
    let site = Site::start().await;
    site.set(|settings| {
        settings.do_not_disturb = true;
        settings.forward_always = Some("2002".into());
    })
    .await;
    site.settle().await.expect("settled");
    site.at_telephone(|pbx| pbx.database.clear());
    site.settle().await.expect("settled");
    assert!(site.here().do_not_disturb);
    assert_eq!(site.there("DND/2001").as_deref(), Some("YES"));
    assert_eq!(site.there("CF/2001").as_deref(), Some("2002"));
    // And from then on the telephone is believed again.
    site.at_telephone(|pbx| _ = pbx.database.remove("CF/2001"));
    site.settle().await.expect("settled");
    assert_eq!(site.here().forward_always, None);
}

const PARIS: &str = "+33177123456";

/// Every call goes there, as it is set here; what stands at the PBX is another matter.
#[track_caller]
fn forwards_here_to_paris(site: &Site) {
    assert_eq!(site.here().forward_always.as_deref(), Some(PARIS));
}

#[tokio::test]
async fn a_line_whose_calls_are_limited_forwards_to_outside_numbers_here_and_not_at_the_pbx() {
    let mut site = Site::start().await;
    site.reload(|alice| alice.limits.max_calls = Some(2));
    site.set(|settings| {
        settings.forward_always = Some(PARIS.into());
        settings.forward_busy = Some("2002".into());
    })
    .await;
    for _ in 0..2 {
        site.settle().await.expect("settled");
        forwards_here_to_paris(&site);
        assert_eq!(site.there("CF/2001"), None);
        assert_eq!(site.there("CFB/2001").as_deref(), Some("2002"));
    }
    // Without limits it stands there too, and goes when they are back.
    site.reload(|alice| alice.limits = Limits::none());
    site.settle().await.expect("settled");
    assert_eq!(site.there("CF/2001").as_deref(), Some(PARIS));
    site.reload(|alice| alice.limits.calls_per_day = Some(20));
    site.settle().await.expect("settled");
    forwards_here_to_paris(&site);
    assert_eq!(site.there("CF/2001"), None);
}

#[tokio::test]
async fn a_forward_to_a_number_that_the_line_may_call_no_more_is_taken_away_at_the_pbx() {
    let mut site = Site::start().await;
    site.set(|settings| settings.forward_always = Some(PARIS.into()))
        .await;
    site.settle().await.expect("settled");
    assert_eq!(site.there("CF/2001").as_deref(), Some(PARIS));
    site.reload(|alice| alice.permissions = [Class::Internal].into_iter().collect());
    // A PBX that does not let it be taken away is asked again.
    site.at_telephone(|pbx| pbx.refuses = Some("DBDel"));
    site.settle().await.expect_err("it was refused");
    site.at_telephone(|pbx| pbx.refuses = None);
    site.settle().await.expect("settled");
    assert_eq!(site.there("CF/2001"), None);
    // It may be called again one day.
    forwards_here_to_paris(&site);
}

#[tokio::test]
async fn what_a_telephone_forwards_to_an_outside_number_is_counted_here_or_not_forwarded_at_all() {
    let mut site = Site::start().await;
    site.reload(|alice| alice.limits.calls_per_hour = Some(20));
    site.settle().await.expect("settled");
    let by_keys = |pbx: &mut Held, number: &str| {
        pbx.database.insert("CF/2001".into(), number.into());
    };
    site.at_telephone(|pbx| by_keys(pbx, "0177123456"));
    site.settle().await.expect("settled");
    forwards_here_to_paris(&site);
    assert_eq!(site.there("CF/2001"), None);
    // Another country, which the line may not call.
    site.reload(|alice| {
        alice.permissions = [Class::Internal, Class::National].into_iter().collect()
    });
    site.at_telephone(|pbx| by_keys(pbx, "0049301234567"));
    site.settle().await.expect("settled");
    assert_eq!(site.here().forward_always, None);
    assert_eq!(site.there("CF/2001"), None);
    // Among extensions a telephone goes on as it did.
    site.at_telephone(|pbx| by_keys(pbx, "2002"));
    site.settle().await.expect("settled");
    assert_eq!(site.here().forward_always.as_deref(), Some("2002"));
    assert_eq!(site.there("CF/2001").as_deref(), Some("2002"));
}
