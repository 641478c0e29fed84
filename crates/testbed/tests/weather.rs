//! Attack 17 (facts on attacks): what links do to sound, at the quality that a person hears. The figures behind the
//! limits, and how to measure them anew, stand in docs/bad-weather.md.

use std::sync::OnceLock;

use mxtrunk_testbed::quality::{Clause, Hour, Listener, Scores};

/// A telephone gets a packet every 20 ms, whatever comes from the browser; virtual time passes in steps of 1 ms.
const STEADY_MS: u64 = 21;

/// What must be reached at least.
struct Limits {
    /// PESQ at the phone, at the browser, and at the browser when the company's network has the weather.
    pesq: [f64; 3],
    /// What the gateway and the link may delay on the way to the phone, in ms.
    to_phone_ms: i64,
    /// And to the browser, whose own jitter buffer is not counted.
    to_browser_ms: i64,
}

fn listener() -> &'static Listener {
    static LISTENER: OnceLock<Listener> = OnceLock::new();
    LISTENER.get_or_init(|| Listener::new().expect("voices: run `cargo xtask setup`"))
}

fn holds(clause: Clause, limits: &Limits) -> Scores {
    let scores = listener().scores(clause).expect("a call and its judge");
    println!("{scores}");
    let heard = [scores.to_phone, scores.to_browser, scores.from_bad_lan];
    for (score, least) in heard.iter().zip(limits.pesq) {
        assert!(score.pesq >= least, "PESQ under {least}: {scores:?}");
        assert!(score.level_db.abs() <= 3.0, "level: {scores:?}");
    }
    let [to_phone, to_browser, from_bad_lan] = heard.map(|score| score.delay_ms);
    assert!(to_phone <= limits.to_phone_ms, "delay: {scores:?}");
    assert!(to_browser <= limits.to_browser_ms, "delay: {scores:?}");
    assert!(from_bad_lan <= limits.to_browser_ms, "delay: {scores:?}");
    assert!(
        scores.longest_wait_ms <= STEADY_MS,
        "the phone's stream broke: {scores:?}"
    );
    scores
}

#[test]
fn in_fine_weather_a_call_sounds_as_good_as_its_codecs() {
    let limits = Limits {
        pesq: [4.1, 4.2, 4.2],
        to_phone_ms: 80,
        to_browser_ms: 30,
    };
    let scores = holds(Clause::Fine, &limits);
    for score in [scores.to_phone, scores.to_browser, scores.from_bad_lan] {
        assert!(score.gap_ms <= 20, "{scores:?}");
    }
}

#[test]
fn one_percent_loss_is_hardly_heard() {
    let limits = Limits {
        pesq: [3.8, 3.9, 3.8],
        to_phone_ms: 80,
        to_browser_ms: 30,
    };
    holds(Clause::Loss(1), &limits);
}

#[test]
fn five_percent_loss_leaves_a_good_call() {
    let limits = Limits {
        pesq: [3.1, 2.9, 2.8],
        to_phone_ms: 80,
        to_browser_ms: 30,
    };
    holds(Clause::Loss(5), &limits);
}

#[test]
fn ten_percent_loss_leaves_a_fair_call() {
    let limits = Limits {
        pesq: [3.6, 3.5, 2.1],
        to_phone_ms: 80,
        to_browser_ms: 30,
    };
    holds(Clause::Loss(10), &limits);
}

#[test]
fn at_twenty_percent_loss_people_understand_each_other() {
    let limits = Limits {
        pesq: [2.9, 2.8, 1.6],
        to_phone_ms: 80,
        to_browser_ms: 30,
    };
    holds(Clause::Loss(20), &limits);
}

#[test]
fn at_thirty_percent_loss_the_call_still_stands() {
    let limits = Limits {
        pesq: [1.5, 1.5, 1.4],
        to_phone_ms: 80,
        to_browser_ms: 30,
    };
    holds(Clause::Loss(30), &limits);
}

#[test]
fn bursts_of_200_ms_are_heard_and_nothing_else() {
    let limits = Limits {
        pesq: [3.1, 3.3, 3.3],
        to_phone_ms: 120,
        to_browser_ms: 30,
    };
    holds(Clause::Bursts, &limits);
}

#[test]
fn jitter_of_30_ms_is_not_heard() {
    let limits = Limits {
        pesq: [4.0, 4.2, 4.2],
        to_phone_ms: 80,
        to_browser_ms: 30,
    };
    holds(Clause::Jitter(30), &limits);
}

#[test]
fn jitter_of_100_ms_is_bought_off_with_delay() {
    let limits = Limits {
        pesq: [3.8, 4.2, 4.2],
        to_phone_ms: 180,
        to_browser_ms: 30,
    };
    holds(Clause::Jitter(100), &limits);
}

#[test]
fn reordered_packets_are_put_in_order() {
    let limits = Limits {
        pesq: [4.0, 4.2, 4.2],
        to_phone_ms: 80,
        to_browser_ms: 30,
    };
    holds(Clause::Reordering, &limits);
}

#[test]
fn a_packet_that_comes_twice_is_heard_once() {
    let limits = Limits {
        pesq: [4.1, 4.2, 4.2],
        to_phone_ms: 80,
        to_browser_ms: 30,
    };
    holds(Clause::Duplicates, &limits);
}

#[test]
fn a_minute_of_a_clock_that_is_fast_by_200_ppm_sounds_as_ever() {
    let limits = Limits {
        pesq: [4.0, 4.1, 4.1],
        to_phone_ms: 80,
        to_browser_ms: 30,
    };
    holds(Clause::Drift(200), &limits);
}

#[test]
fn a_minute_of_a_clock_that_is_slow_by_200_ppm_sounds_as_ever() {
    let limits = Limits {
        pesq: [4.0, 4.1, 4.1],
        to_phone_ms: 80,
        to_browser_ms: 30,
    };
    holds(Clause::Drift(-200), &limits);
}

#[test]
fn after_a_blackout_of_3_s_the_call_sounds_as_before() {
    let limits = Limits {
        pesq: [4.0, 4.2, 4.2],
        to_phone_ms: 80,
        to_browser_ms: 30,
    };
    holds(Clause::Blackout, &limits);
}

#[test]
fn an_hour_of_a_clock_that_is_fast_by_200_ppm_ends_as_it_began() {
    an_hour(200.0);
}

#[test]
fn an_hour_of_a_clock_that_is_slow_by_200_ppm_ends_as_it_began() {
    an_hour(-200.0);
}

/// 200 ppm are 720 ms in an hour, or 36 frames: they are dropped or made up one by one, and the delay stays.
fn an_hour(ppm: f64) {
    let hour = listener().hour(ppm).expect("a call and its judge");
    println!("{hour:?}");
    let Hour {
        first,
        last,
        counted,
        packets,
        longest_wait_ms,
    } = hour;
    assert!(first.pesq >= 3.9 && last.pesq >= 3.9);
    assert!(last.delay_ms <= first.delay_ms + 40);
    assert_eq!((counted.received.lost, counted.dropped.late), (0, 0));
    assert!(counted.received.concealed <= 60);
    assert!(packets.abs_diff(3_600 * 50) <= 10);
    assert!(longest_wait_ms <= STEADY_MS);
}
