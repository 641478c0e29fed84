//! The guards that `cargo xtask guards` takes away, by the numbers of the list of attacks, each with the test that goes red then.
//! Those of races and floods are shown by tests of whole calls, which are too slow to stand here.

use std::fmt;

/// A place in the code without which a test goes red.
pub(super) struct Guard {
    /// Of the list of attacks; what it is about where the list has nothing of it.
    attack: &'static str,
    pub(super) file: &'static str,
    /// Stands there once, and is cut out …
    pub(super) cut: &'static str,
    /// … and this put in its place.
    pub(super) put: &'static str,
    pub(super) package: &'static str,
    /// What cargo is told of where the test is.
    pub(super) target: &'static [&'static str],
    pub(super) test: &'static str,
}

impl Guard {
    /// Whether this word names it.
    pub(super) fn is_called(&self, word: &str) -> bool {
        self.attack == word || self.file.contains(word) || self.test.contains(word)
    }
}

impl fmt::Display for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.attack, self.test, self.file)
    }
}

const LIB: &[&str] = &["--lib"];
const BIN: &[&str] = &["--bin", "mxtrunk"];
const WIRE: &[&str] = &["--test", "sip"];
const ICE: &[&str] = &["--test", "ice"];
const LOOPBACK: &[&str] = &["--test", "loopback"];

macro_rules! guards {
    ($($package:literal $target:ident {
        $($attack:literal $file:literal: $cut:literal => $put:literal, $test:literal;)*
    })*) => {
        pub(super) const GUARDS: &[Guard] = &[$($(Guard {
            attack: $attack,
            file: $file,
            cut: $cut,
            put: $put,
            package: $package,
            target: $target,
            test: $test,
        },)*)*];
    };
}

guards! {
    "mxtrunk-sip" LIB {
        "1" "crates/sip/src/fence/screen.rs":
            "if *version != \"SIP/2.0\" {" => "if false {",
            "what_the_rfc_wants_answered_is_answered";
        "1" "crates/sip/src/fence/screen.rs":
            "if !self.addresses_are_readable() {" => "if false {",
            "what_the_rfc_wants_answered_is_answered";
        "3" "crates/sip/src/fence/screen.rs":
            "if before_nul.any(|before| !before.ends_with('\\\\')) {" => "if false {",
            "a_nul_in_a_head_is_dropped_unless_it_is_quoted";
        "4" "crates/sip/src/fence/screen.rs":
            "lengths.next().is_none().then_some(length as usize)" => "Some(length as usize)",
            "a_length_that_cannot_be_believed_ends_the_reading";
        "4" "crates/sip/src/fence/screen.rs":
            "length.is_some_and(|len| len as usize <= self.body_len) && self" => "self",
            "what_the_rfc_wants_answered_is_answered";
        "7" "crates/sip/src/digest.rs":
            "if known.is_some() && !challenge.stale {" => "if false {",
            "a_stale_nonce_is_replaced_and_a_wrong_password_is_final";
        "7" "crates/sip/src/digest.rs":
            "if self.taken >= MAX_CHALLENGES {" => "if false {",
            "a_peer_to_which_every_nonce_is_stale_is_given_up_on";
        "8" "crates/sip/src/challenge.rs":
            "if address::user_of(&answer.uri) != called" => "if false",
            "a_wrong_password_another_number_and_no_answer_are_told_apart";
        "8" "crates/sip/src/challenge.rs":
            "|| age.is_none_or(|age| age >= LIFETIME)" => "",
            "an_answer_to_an_old_challenge_or_from_elsewhere_gets_a_new_one";
        "8" "crates/sip/src/challenge.rs":
            "let is_new = answer.count > used.count;" => "let is_new = true;",
            "an_answer_is_right_in_either_algorithm_and_once";
        "8" "crates/sip/src/challenge.rs":
            "if !bool::from(ours.as_bytes().ct_eq(answer.nonce.as_bytes()))" => "if false",
            "challenge::tests::";
        "8" "crates/sip/src/identity.rs":
            "(true, _) => Some(Caller::default())," => "(true, identity) => identity.map(known),",
            "a_withheld_number_is_not_shown_even_if_asserted";
        "8" "crates/sip/src/identity.rs":
            "    if !trusted {\n        return None;\n    }\n    let remote_party" => "    let remote_party",
            "an_asserted_identity_goes_before_from_where_the_trunk_is_trusted";
        "8" "crates/sip/src/forwarded.rs":
            "    if !trusted {\n        return None;\n    }\n" => "",
            "a_stranger_forwards_nothing";
        "9" "crates/sip/src/fence/strangers.rs":
            "messages < self.bans.after && !is_scanner(said)" => "messages < self.bans.after",
            "a_scanner_is_banned_with_its_first_message";
        "9" "crates/sip/src/fence/strangers.rs":
            "messages < self.bans.after && !is_scanner(said)" => "!is_scanner(said)",
            "who_keeps_sending_is_banned_until_it_has_kept_quiet";
        "9" "crates/sip/src/fence/strangers.rs":
            "self.order.len() >= MOST" => "self.order.len() >= usize::MAX",
            "a_flood_from_ever_new_addresses_takes_a_bounded_room";
        "9" "crates/sip/src/fence/strangers.rs":
            "u128::from(address) & !u128::from(u64::MAX)" => "u128::from(address)",
            "who_has_a_network_of_ipv6_is_one";
        "9" "crates/sip/src/fence/admission.rs":
            "true => Met::Stranger," => "true => self.strangers().meet(ip, said, Instant::now()),",
            "an_address_of_a_trunk_is_never_banned_though_it_speaks_as_no_trunk_does";
        "6" "crates/sip/src/fence/admission.rs":
            "bucket.take(Instant::now())" => "bucket.take(Instant::now()) || true",
            "an_address_over_its_rate_is_silenced_and_an_unknown_one_always";
        "6" "crates/sip/src/reliable.rs":
            "const WAITING: usize = 8;" => "const WAITING: usize = 8_000;",
            "a_peer_that_owes_its_prack_has_few_responses_kept_for_it";
        "6" "crates/sip/src/forks.rs":
            "const FORKS: usize = 16;" => "const FORKS: usize = 16_000;",
            "a_flood_of_branches_is_bounded";
        "NOTIFY" "crates/sip/src/subscription/notify.rs":
            "Some(Named::Plainly(named)) if named == package => {}" => "Some(_) => {}",
            "only_the_package_of_the_subscription_is_heard";
        "NOTIFY" "crates/sip/src/subscription/notify.rs":
            "if plain && content_type" => "if content_type",
            "a_body_is_of_the_packages_type_and_in_the_clear_or_not_read";
        "NOTIFY" "crates/sip/src/subscription/dialogs.rs":
            "if by_id.len() > MAX_DIALOGS {" => "if false {",
            "subscription::dialogs::tests::";
        "NOTIFY" "crates/sip/src/subscription/dialogs.rs":
            "if body.len() > LONGEST {" => "if false {",
            "subscription::dialogs::tests::";
        "NOTIFY" "crates/sip/src/subscription/dialogs.rs":
            "allow_dtd: false," => "allow_dtd: true,",
            "subscription::dialogs::tests::";
        "NOTIFY" "crates/sip/src/subscription/dialogs.rs":
            "Some(version) if info.version <= version => Fit::Old," => "",
            "subscription::dialogs::tests::";
        "session timers" "crates/sip/src/session.rs":
            "if demanded <= interval {" => "if false {",
            "a_422_widens_what_is_asked_for_and_only_if_it_asks_for_more";
        "2" "crates/sip/src/fence/stream.rs":
            "let too_long = self.buffer.len() > LONGEST;" => "let too_long = false;",
            "fence::stream::tests::";
    }
    "mxtrunk-sip" WIRE {
        "a PBX that forgets" "crates/sip/src/calling/forgotten.rs":
            "if !is_it || !matches!(self.giving_up, GivingUp::No) {" => "if !matches!(self.giving_up, GivingUp::No) {",
            "a_call_that_rings_several_phones_is_not_over_when_one_of_them_is_unknown";
        "a PBX that forgets" "crates/sip/src/incoming.rs":
            "match has_dialog && snapshot::takes_update(&self.invite.request) {" => "match false {",
            "a_caller_that_has_forgotten_its_call_while_it_rang_is_not_rung_for_any_more";
        "a PBX that forgets" "crates/sip/src/incoming/answered.rs":
            "Input::Command(Command::Check) => self.ask_whether_it_is_known()," => "Input::Command(Command::Check) => {}",
            "a_caller_that_has_forgotten_its_call_before_it_acknowledged_our_answer_ends_it";
        "2" "crates/sip/src/fence/stream.rs":
            "Some(whole) if whole <= LONGEST => {" => "Some(_) => {",
            "what_is_too_big_for_a_stream_stops_nobody_on_the_others";
        "10" "crates/sip/src/arrival.rs":
            "if is_ours && account.is_none() {" => "if false {",
            "an_invite_of_ours_that_comes_back_is_a_loop";
        "10" "crates/sip/src/established/theirs.rs":
            "if offers && self.has_offered() {" => "if false {",
            "an_offer_that_crosses_ours_gets_491";
        "9" "crates/sip/src/fence/admission.rs":
            "trunks.iter().any(|trunk| trunk.is_here() && is_of(trunk))" => "trunks.iter().any(|_| true)",
            "fence::";
        "6" "crates/sip/src/fence/admission.rs":
            "self.closing.load(Ordering::Relaxed) || full || !trunk.load.may_call(priority)" => "full && false",
            "a_flood_gets_503_then_silence_and_leaves_nothing_behind";
        "6" "crates/sip/src/fence/gate.rs":
            "        if !trunk.load.may_refuse() {\n" => "        if false {\n",
            "a_flood_gets_503_then_silence_and_leaves_nothing_behind";
        "9" "crates/sip/src/fence/gate.rs":
            "if trunk.is_retired() && !matches!" => "if false && !matches!",
            "trunks::";
        "5" "crates/sip/src/fence/gate.rs":
            "if is_stream && self.settles(request, back) {" => "if false {",
            "a_peer_that_never_reads_does_not_stop_the_others";
        "5" "crates/sip/src/fence/gate.rs":
            "let _turn = turn;" => "drop(turn);",
            "a_peer_that_never_reads_does_not_stop_the_others";
        "5" "crates/sip/src/fence/gate.rs":
            "!connection.is_reliable() || !self.repeats(response)" => "true",
            "a_peer_that_repeats_its_answer_and_reads_no_ack_does_not_stop_the_others";
        "5" "crates/sip/src/streams/open.rs":
            "answers.map(Semaphore::try_acquire_owned).transpose()" => "{ drop(answers); Ok(None) }",
            "what_a_peer_does_not_read_is_not_kept_in_memory";
        "8" "crates/sip/src/inbound.rs":
            "match core.admission.admits_caller(trunk, &tx.original, from) {" => "match Ok::<(), Header>(drop(from)) {",
            "a_trunk_with_a_wrong_password_is_not_let_in";
        "7" "crates/sip/src/inbound.rs":
            "Method::Subscribe => transact::reply(core, tx, StatusCode::BadEvent, Vec::new())," => "Method::Subscribe => transact::reply(core, tx, StatusCode::OK, Vec::new()),",
            "requests_outside_of_a_dialog_get_their_own_answers";
        "NOTIFY" "crates/sip/src/subscription/keep/hear.rs":
            "if remote_tag != own.remote_tag {" => "if false {",
            "a_notify_before_the_answer_is_taken_and_a_fork_of_it_is_not";
        "NOTIFY" "crates/sip/src/subscription/keep/hear.rs":
            "if cseq < last {" => "if false {",
            "subscriptions::";
    }
    "mxtrunk-media" LIB {
        "3" "crates/media/src/phone_sdp.rs":
            "if sdp.len() > LONGEST {" => "if false {",
            "a_description_beyond_all_measure_is_not_read";
        "3" "crates/media/src/phone_sdp.rs":
            "if ip.is_multicast() {" => "if false {",
            "sound_goes_to_no_group_of_hosts";
        "11" "crates/media/src/phone_sdp.rs":
            "if ip.is_unspecified() {" => "if false {",
            "phone_sdp::tests::";
        "15" "crates/media/src/demux.rs":
            "if is_new && known.early.len() < EARLY {" => "if is_new {",
            "early_checks_from_ever_new_addresses_are_not_all_remembered";
        "14" "crates/media/src/demux.rs":
            "if ufrag == remote {" => "if !ufrag.is_empty() {",
            "only_the_selected_device_keeps_its_early_address";
        "12" "crates/media/src/latch.rs":
            "in_time && self.nat.contains(&source.ip())" => "in_time",
            "an_attacker_from_another_address_or_port_gets_nothing_and_is_not_heard_at_any_time";
        "12" "crates/media/src/latch.rs":
            "State::Locked(_) => Source::Stranger," => "State::Locked(_) => Source::Peer,",
            "another_port_of_the_trunks_address_cannot_break_in";
        "12" "crates/media/src/latch.rs":
            "packets == PROBATION" => "packets == 1",
            "another_port_of_the_trunks_address_cannot_break_in";
        "12" "crates/media/src/latch.rs":
            "until.is_none_or(|until| now < until)" => "until.is_none_or(|_| true)",
            "latch::tests::";
        "12" "crates/media/src/latch.rs":
            "(Some(_), Some(control)) => control == source," => "(Some(peer), Some(_)) => peer.ip() == source.ip(),",
            "reports_come_from_the_phones_address_and_from_one_port_of_it_only";
        "13" "crates/media/src/srtp/open.rs":
            "if !before.is_new(index) {" => "if false {",
            "replayed_packets_are_not_heard_again";
        "13" "crates/media/src/srtp/open.rs":
            "if !source.rtcp.is_new(index) {" => "if false {",
            "reports_are_opened_once_and_never_in_the_clear";
        "13" "crates/media/src/srtp/open.rs":
            "if word & ENCRYPTED == 0 {" => "if false {",
            "a_genuine_report_without_the_flag_of_encryption_is_refused";
        "13" "crates/media/src/srtp/transform.rs":
            "if verify_slices_are_equal(expected.as_ref(), sealed.tag).is_err() {" => "if expected.as_ref().is_empty() {",
            "two_hundred_bad_packets_do_no_harm_and_are_not_taken_for_a_sign_of_life";
        "13" "crates/media/src/relay.rs":
            "Some(bit) if self.gone & bit == 0 => {" => "Some(bit) => {",
            "no_number_goes_out_twice_whatever_comes";
        "16" "crates/media/src/rtp.rs":
            "match len <= rest.len() {" => "match true {",
            "lying_lengths_are_refused";
        "16" "crates/media/src/rtp.rs":
            ".filter(|_| padding > 0)" => "",
            "lying_lengths_are_refused";
        "17" "crates/media/src/jitter/mod.rs":
            "if self.has_come(number) {" => "if self.has_come(number) && false {",
            "packets_that_come_twice_are_heard_once_and_are_no_jitter";
    }
    "mxtrunk-media" ICE {
        "14" "crates/media/src/demux.rs":
            "                None => Route::Stranger,\n" => "                None => self.legs.keys().next().map_or(Route::Stranger, |leg| Route::Leg(*leg)),\n",
            "a_client_hello_from_an_address_that_ice_has_not_validated_is_dropped";
        "15" "crates/media/src/demux.rs":
            "Some(leg) if self.may_check(*leg, path) =>" => "Some(leg) =>",
            "checks_from_a_thousand_addresses_are_not_all_taken";
    }
    "mxtrunk-media-io" LOOPBACK {
        "18" "crates/media-io/src/ports.rs":
            "let until = now + self.quarantine;" => "let until = now;",
            "late_packets_of_an_old_call_are_not_heard_in_the_next_one";
    }
    "mxtrunk-signaling" LIB {
        "8" "crates/signaling/src/transfer/asked.rs":
            "!number.as_str().contains(['*', '#']) && refer_to.has(plan.class_of(&number).0)" => "true",
            "a_telephone_of_a_trunk_that_is_not_trusted_names_extensions_and_help_and_nothing_that_costs";
        "8" "crates/signaling/src/at_pbx/mod.rs":
            "may_always && !is_counted && directory" => "directory",
            "at_pbx::";
        "19" "crates/signaling/src/trace/sdp.rs":
            "fields.take(FORMATS)" => "fields",
            "of_a_description_with_thousands_of_formats_and_lines_a_few_are_told";
        "18" "crates/signaling/src/admission.rs":
            "if self.is_draining() && priority == Priority::Normal {" => "if false {",
            "a_gateway_that_drains_takes_calls_for_help_alone";
        "19" "crates/signaling/src/calls.rs":
            "        ended.push_back(key);\n" => "        let _ = key;\n",
            "a_call_that_is_over_is_remembered_for_a_late_invite_and_in_the_end_forgotten";
        "19" "crates/signaling/src/calls.rs":
            "if ended.len() == ENDED_CALLS {" => "if false {",
            "a_call_that_is_over_is_remembered_for_a_late_invite_and_in_the_end_forgotten";
        "8" "crates/signaling/src/limits/ledger.rs":
            "&& self.running.len() >= most as usize" => "&& most == u32::MAX",
            "so_many_outside_calls_at_once_and_one_more_when_one_is_over";
        "8" "crates/signaling/src/limits/ledger.rs":
            "let Some(over) = self.tried.len().checked_sub(most as usize)" => "let Some(over) = 0_usize.checked_sub(1 + most as usize)",
            "so_many_tries_within_any_hour_whether_they_were_answered_or_not";
        "8" "crates/signaling/src/limits/ledger.rs":
            "&& self.tried_today >= most" => "&& most == u32::MAX",
            "so_many_tries_a_day_until_midnight_at_the_site";
        "8" "crates/signaling/src/limits/ledger.rs":
            "Some(most) if is_dear(class) && self.dear(now.at) >= most => {" => "Some(most) if most == Duration::MAX => {",
            "dear_calls_run_out_together_and_others_go_on";
        "8" "crates/signaling/src/limits/ledger.rs":
            "if let Some(until) = limits.closed_until(class, local) {" => "if let Some(until) = limits.closed_until(class, local).filter(|_| false) {",
            "at_night_a_line_calls_what_the_night_lets_it_and_help_always";
        "8" "crates/signaling/src/limits/ledger.rs":
            "Called::Emergency => return Ok(None)," => "Called::Emergency => Class::Premium,",
            "at_night_a_line_calls_what_the_night_lets_it_and_help_always";
        "8" "crates/signaling/src/limits/ledger.rs":
            "if self.tried.len() == REMEMBERED {" => "if false {",
            "a_line_without_a_limit_is_remembered_as_far_as_one_could_be_set";
        "8" "crates/signaling/src/limits/ledger.rs":
            "            account.remember(tried);\n" => "            let _ = tried;\n",
            "what_was_called_before_the_start_counts_as_if_there_had_been_none";
    }
    "mxtrunk-matrix" LIB {
        "19" "crates/matrix/src/service/transactions.rs":
            "if taken.whole.contains(key) || self.is_seen(key).await {" => "if false {",
            "tests::transactions::";
        "19" "crates/matrix/src/service/transactions.rs":
            "Some(event_id) => format!(\"{txn_id} {event_id}\")," => "Some(_) => txn_id.to_owned(),",
            "a_homeserver_that_counts_from_1_again_after_its_restart_is_heard";
        "19" "crates/matrix/src/service/mod.rs":
            "Some(token) if !bool::from(token.ct_eq(service.hs_token.expose().as_bytes())) => {" => "Some(token) if token.is_empty() => {",
            "nobody_but_the_homeserver_gets_in";
        "19" "crates/matrix/src/call_events/incoming/mod.rs":
            "if sdp.len() > MAX_SDP_BYTES {" => "if false {",
            "an_oversized_description_is_refused";
        "19" "crates/matrix/src/call_events/incoming/mod.rs":
            "if id.len() > MAX_ID_BYTES {" => "if false {",
            "call_events::incoming::tests::";
        "8" "crates/matrix/src/namespace.rs":
            "user.server_name().as_str() == self.server_name\n    }\n\n    /// A regular" => "!user.server_name().as_str().is_empty()\n    }\n\n    /// A regular",
            "echoes_of_our_own_users_and_foreign_users_are_filtered";
        "19" "crates/matrix/src/room_events.rs":
            "Ok(members) => members.contains(person)," => "Ok(_) => true,",
            "who_is_not_in_the_room_is_not_heard_there";
        "19" "crates/matrix/src/service/lookups.rs":
            "if self.lookups.admits(Instant::now()) {" => "if self.lookups.admits(Instant::now()) || true {",
            "whoever_goes_through_all_numbers_is_slowed_down";
        "19" "crates/matrix/src/service/lookups.rs":
            "if is_for_help {" => "if false {",
            "whoever_uses_up_the_look_ups_keeps_nobody_from_calling_for_help";
        "19" "crates/matrix/src/service/lookups.rs":
            "normalised == number && inner" => "inner",
            "whoever_uses_up_the_look_ups_keeps_nobody_from_calling_for_help";
    }
    "mxtrunk" BIN {
        "sources" "src/reload/refused.rs":
            "match change.removes_most() {" => "match false {",
            "reload::";
        "records" "src/records/push.rs":
            "let is_there = !matches!(error, NotTaken::Unreached(_));" => "let is_there = matches!(error, NotTaken::Answered(_));",
            "a_record_that_is_never_answered_lets_the_others_go_first";
        "log" "src/reload/refused.rs":
            "let kind = problem.in_short();" => "let kind = problem.to_string();",
            "reload::refused::tests::";
        "admin" "src/admin/guesses.rs":
            "Some(wait) if !wait.is_zero() => Err(wait)," => "",
            "admin::guesses::tests::";
        "admin" "src/admin/guesses.rs":
            "if self.order.len() >= MOST" => "if self.order.len() >= usize::MAX",
            "admin::guesses::tests::";
        "admin" "src/admin/access.rs":
            "None if *method == Method::GET && self.knows_session(headers, now) => Shown::Right," => "None if self.knows_session(headers, now) => Shown::Right,",
            "admin::access::tests::";
        "admin" "src/admin/access.rs":
            "if sessions.len() == SESSIONS {" => "if false {",
            "admin::access::tests::";
        "watchdog" "src/service.rs":
            "self.router_silent.max(self.workers_silent) > STILL" => "self.workers_silent > STILL",
            "a_router_or_a_media_worker_that_stands_still_starves_the_watchdog";
        "watchdog" "src/service.rs":
            "self.router_silent.max(self.workers_silent) > STILL" => "self.router_silent > STILL",
            "a_router_or_a_media_worker_that_stands_still_starves_the_watchdog";
        "watchdog" "src/workers.rs":
            "if count != reading || load.bridged == 0 {" => "if true {",
            "a_worker_that_carries_sound_and_measures_nothing_stands_still";
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use xtask::layout;

    use super::*;

    #[test]
    fn each_guard_of_the_list_stands_once_in_its_file() {
        for guard in GUARDS {
            let text = fs::read_to_string(layout::root().join(guard.file)).unwrap();
            let times = text.matches(guard.cut).count();
            assert_eq!(times, 1, "{guard}: {:?}", guard.cut);
        }
    }
}
