//! Packets of the RFCs and of libsrtp; streams that turn over, leap, change their source and are replayed.

use super::open::Opener;
use super::seal::Sealer;
use super::transform::{Kind, Position, Trailer, Transform};
use super::*;
use crate::rtp::Header;
use proptest::prelude::*;

/// RFC 7714 section 16.
const RTP: &str = "8040f17b8041f8d35501a0b247616c6c696120657374206f6d6e69732064697669736120696e207061727465732074726573";
/// RFC 7714 section 17.
const RTCP: &str = "81c8000d4d6172734e5450314e545032525450200000042a0000e9304c756e61deadbeefdeadbeefdeadbeefdeadbeefdeadbeef";

pub(super) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .chars()
        .map(|digit| digit.to_digit(16).unwrap() as u8)
        .collect();
    digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

fn key(suite: Suite, byte: u8) -> Crypto {
    let secret = SrtpSecret::new([byte; SrtpSecret::LEN]);
    Crypto {
        tag: 1,
        key: secret.master_key(suite, 0),
    }
}

/// A sender, and the receiver that has its key.
fn pair(suite: Suite) -> (Sealer, Opener) {
    let key = key(suite, 9).key;
    (Sealer::new(&key), Opener::new(key))
}

fn plain(sequence: u16, ssrc: u32) -> Vec<u8> {
    let header = Header {
        payload_type: 0,
        marker: false,
        sequence,
        timestamp: 1,
        ssrc,
    };
    let mut packet = header.to_bytes().to_vec();
    packet.extend([0x55; 160]);
    packet
}

fn sealed(sealer: &mut Sealer, sequence: u16, ssrc: u32) -> Vec<u8> {
    let mut packet = plain(sequence, ssrc);
    sealer.seal_rtp(&mut packet, 0);
    packet
}

fn opens(opener: &mut Opener, packet: &[u8], sequence: u16, ssrc: u32) -> Result<(), Unopened> {
    opener.open_rtp(packet)?;
    assert_eq!(opener.opened(), plain(sequence, ssrc));
    Ok(())
}

#[test]
fn counter_mode_makes_the_packets_of_libsrtp() {
    let master = hex("e1f97a0d3e018be0d64fa32c06de41390ec675ad498afeebb6960b3aabe6");
    let master = keys::MasterKey::new(Suite::Aes128CmSha1Tag80, &master).unwrap();
    let (mut sealer, mut opener) = (Sealer::new(&master), Opener::new(master));
    let plain = hex("800f1234decafbadcafebabeabababababababababababababababab");
    let mut packet = plain.clone();
    sealer.seal_rtp(&mut packet, 0);
    let expected = "800f1234decafbadcafebabe4e55dc4ce79978d88ca4d215949d2402b78d6acc99ea179b8dbb";
    assert_eq!(packet, hex(expected));
    opener.open_rtp(&packet).unwrap();
    assert_eq!(opener.opened(), plain);

    let plain = hex("81c8000bcafebabeabababababababababababababababab");
    let mut packet = plain.clone();
    sealer.seal_rtcp(&mut packet, 0);
    let expected = "81c8000bcafebabe7128035be487b9bdbef89041f977a5a880000001993e08cd54d6c1230798";
    assert_eq!(packet, hex(expected));
    opener.open_rtcp(&packet).unwrap();
    assert_eq!(opener.opened(), plain);
}

#[test]
fn gcm_makes_the_packets_of_the_rfc() {
    let key: Vec<u8> = (0..32).collect();
    for (suite, rtp, rtcp) in [
        (
            Suite::Aes128Gcm,
            "8040f17b8041f8d35501a0b2f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a51c7d19b36de3adf8833899d7f27beb16a9152cf765ee4390cce",
            "81c8000d4d61727363e94885dcdab67ca727d7662f6b7e997ff5c0f76c06f32dc676a5f1730d6fda4ce09b4686303ded0bb9275bc84aa45896cf4d2fc5abf87245d9eade800005d4",
        ),
        (
            Suite::Aes256Gcm,
            "8040f17b8041f8d35501a0b232b1de78a822fe12ef9f78fa332e33aab18012389a58e2f3b50b2a0276ffae0f1ba63799b87b7aa3db36dfffd6b0f9bb7878d7a76c13",
            "81c8000d4d617273d50ae4d1f5ce5d304ba297e47d470c282c3ece5dbffe0a50a2eaa5c1110555be8415f658c61de0476f1b6fad1d1eb30c4446839f57ff6f6cb26ac3be800005d4",
        ),
    ] {
        // The RFC gives session keys, behind the derivation.
        let salt = || hex("517569642070726f2071756f").try_into().unwrap();
        let transform = || Transform::gcm(&key[..suite.key_len()], salt());
        let mut sealer = Sealer::with(transform(), transform());
        let unused = SrtpSecret::new([0; SrtpSecret::LEN]).master_key(suite, 0);
        let mut opener = Opener::with(unused, transform(), transform());
        let mut packet = hex(RTP);
        sealer.seal_rtp(&mut packet, 0);
        assert_eq!(packet, hex(rtp), "{suite:?}");
        opener.open_rtp(&packet).unwrap();
        assert_eq!(opener.opened(), hex(RTP));
        let mut packet = hex(RTCP);
        sealer.set_last_report(0x5d3);
        sealer.seal_rtcp(&mut packet, 0);
        assert_eq!(packet, hex(rtcp), "{suite:?}");
        opener.open_rtcp(&packet).unwrap();
        assert_eq!(opener.opened(), hex(RTCP));
    }
}

#[test]
fn the_stream_goes_on_over_every_turn_of_the_sequence_numbers() {
    for suite in Suite::ALL {
        let (mut sealer, mut opener) = pair(suite);
        for n in 0..140_000u32 {
            let sequence = (n + 65_000) as u16;
            let packet = sealed(&mut sealer, sequence, 7);
            assert_eq!(
                opens(&mut opener, &packet, sequence, 7),
                Ok(()),
                "{suite:?} {n}"
            );
        }
    }
}

#[test]
fn a_replayed_packet_is_refused_at_once_and_a_turn_later() {
    for suite in Suite::ALL {
        let (mut sealer, mut opener) = pair(suite);
        let first = sealed(&mut sealer, 10, 7);
        assert_eq!(opens(&mut opener, &first, 10, 7), Ok(()));
        assert_eq!(opener.open_rtp(&first), Err(Unopened::Replayed));
        for n in 11..70_000u32 {
            let packet = sealed(&mut sealer, n as u16, 7);
            opener.open_rtp(&packet).unwrap();
        }
        assert!(opener.open_rtp(&first).is_err());
    }
}

#[test]
fn every_changed_bit_is_noticed_and_does_no_harm() {
    for suite in Suite::ALL {
        let (mut sealer, mut opener) = pair(suite);
        let genuine = sealed(&mut sealer, 10, 7);
        for at in 0..genuine.len() * 8 {
            let mut forged = genuine.clone();
            forged[at / 8] ^= 1 << (at % 8);
            assert!(opener.open_rtp(&forged).is_err(), "{suite:?} bit {at}");
        }
        for len in 0..genuine.len() {
            assert!(
                opener.open_rtp(&genuine[..len]).is_err(),
                "{suite:?} {len} bytes"
            );
        }
        assert_eq!(opens(&mut opener, &genuine, 10, 7), Ok(()));
    }
}

/// 11 min of hold at 50 packets/s: 33,000 numbers, more than the half turn that the estimate of RFC 3711 survives.
#[test]
fn a_gap_of_more_than_half_a_turn_does_not_end_the_stream() {
    for jump in [32_767u32, 32_768, 33_000, 65_535, 65_536, 90_000] {
        for start in [5u32, 40_000, 65_535] {
            let (mut sealer, mut opener) = pair(Suite::Aes128CmSha1Tag80);
            for n in start..=start + jump {
                let packet = sealed(&mut sealer, n as u16, 7);
                if n == start || n == start + jump {
                    assert_eq!(
                        opens(&mut opener, &packet, n as u16, 7),
                        Ok(()),
                        "{start} + {jump}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_sender_whose_numbers_jump_back_keeps_its_indices_apart() {
    let (mut sealer, mut opener) = pair(Suite::Aes128Gcm);
    for sequence in [100, 50, 50, 51] {
        let packet = sealed(&mut sealer, sequence, 7);
        assert_eq!(opens(&mut opener, &packet, sequence, 7), Ok(()));
    }
}

#[test]
fn each_source_has_its_own_counters_and_their_number_is_bounded() {
    let (_, mut opener) = pair(Suite::Aes128Gcm);
    let master = key(Suite::Aes128Gcm, 9).key;
    let mut one = Sealer::new(&master);
    for n in 65_530..65_546u32 {
        let packet = sealed(&mut one, n as u16, 1);
        assert_eq!(opens(&mut opener, &packet, n as u16, 1), Ok(()));
    }
    for ssrc in 2..40 {
        let packet = sealed(&mut Sealer::new(&master), 9, ssrc);
        assert_eq!(opens(&mut opener, &packet, 9, ssrc), Ok(()));
        // Heard between the others, the first keeps its place and its turn.
        let sequence = 10 + ssrc as u16;
        let packet = sealed(&mut one, sequence, 1);
        assert_eq!(opens(&mut opener, &packet, sequence, 1), Ok(()));
    }
    let forged = sealed(&mut Sealer::new(&key(Suite::Aes128Gcm, 8).key), 9, 1000);
    assert_eq!(opener.open_rtp(&forged), Err(Unopened::Forged));
}

#[test]
fn of_nine_sources_the_one_longest_unheard_is_forgotten() {
    let (_, mut opener) = pair(Suite::Aes128Gcm);
    let master = key(Suite::Aes128Gcm, 9).key;
    let packet = |ssrc| sealed(&mut Sealer::new(&master), 9, ssrc);
    for ssrc in 1..=9 {
        assert_eq!(opens(&mut opener, &packet(ssrc), 9, ssrc), Ok(()));
    }
    for ssrc in 2..=9 {
        assert_eq!(opener.open_rtp(&packet(ssrc)), Err(Unopened::Replayed));
    }
    assert_eq!(opens(&mut opener, &packet(1), 9, 1), Ok(()));
}

#[test]
fn reports_are_opened_once_and_never_in_the_clear() {
    for suite in Suite::ALL {
        let (mut sealer, mut opener) = pair(suite);
        let report = hex("80c9000100000007");
        let mut packet = report.clone();
        sealer.seal_rtcp(&mut packet, 0);
        assert_eq!(opener.open_rtcp(&packet), Ok(()));
        assert_eq!(opener.opened(), report);
        assert_eq!(opener.open_rtcp(&packet), Err(Unopened::Replayed));
        assert!(opener.open_rtcp(&report).is_err());
        for len in 0..packet.len() {
            assert!(opener.open_rtcp(&packet[..len]).is_err());
        }
    }
}

/// Its tag is right, but it says that it is not encrypted: nobody agreed to that (RFC 3711 section 3.4, the E flag).
#[test]
fn a_genuine_report_without_the_flag_of_encryption_is_refused() {
    for suite in Suite::ALL {
        let master = key(suite, 9).key;
        let rtcp = Transform::new(&master, Kind::Rtcp);
        let mut packet = hex("80c9000100000007");
        let at = Position { ssrc: 7, index: 1 };
        let tag = rtcp.seal(&mut packet, 8, Trailer::Index(1), at);
        let word = 1u32.to_be_bytes();
        packet.extend(match rtcp.tag_precedes_index() {
            true => [tag.as_ref(), &word].concat(),
            false => [&word, tag.as_ref()].concat(),
        });
        let mut opener = Opener::new(master);
        assert_eq!(
            opener.open_rtcp(&packet),
            Err(Unopened::Malformed),
            "{suite:?}"
        );
    }
}

/// What the two ends of a call do with each other's descriptions.
fn agreed() -> (Srtp, Srtp) {
    let mut caller = Srtp::new(SrtpSecret::new([1; SrtpSecret::LEN]));
    let mut called = Srtp::new(SrtpSecret::new([2; SrtpSecret::LEN]));
    let answer = called.accept(Some(&caller.offer()[2])).unwrap();
    caller.apply_answer(&[answer]).unwrap();
    (caller, called)
}

fn passes(from: &mut Srtp, to: &mut Srtp, sequence: u16) -> bool {
    let packet = sealed(from.sealer().unwrap(), sequence, 7);
    to.open_rtp(&packet)
        .is_ok_and(|opened| opened == plain(sequence, 7))
}

#[test]
fn a_repeated_key_keeps_counters_and_a_new_one_renews_both_sides() {
    let (mut caller, mut called) = agreed();
    for n in 0..70_000u32 {
        assert!(
            passes(&mut caller, &mut called, n as u16)
                && passes(&mut called, &mut caller, n as u16)
        );
    }
    let answer = called.accept(Some(&caller.offer()[2])).unwrap();
    caller.apply_answer(std::slice::from_ref(&answer)).unwrap();
    assert!(passes(&mut caller, &mut called, 4465) && passes(&mut called, &mut caller, 4465));

    let mut transferred = Srtp::new(SrtpSecret::new([3; SrtpSecret::LEN]));
    let renewed = called.accept(Some(&transferred.offer()[2])).unwrap();
    assert_ne!(
        renewed, answer,
        "our key is new as well: the peer may have forgotten our turn"
    );
    // The answer is still on its way, and the old device goes on sending.
    assert!(passes(&mut caller, &mut called, 4466));
    transferred.apply_answer(&[renewed]).unwrap();
    assert!(
        passes(&mut transferred, &mut called, 9) && passes(&mut called, &mut transferred, 4466)
    );
    assert!(
        !passes(&mut caller, &mut called, 4467),
        "the old key is past"
    );
}

/// RFC 4568 section 7.1.4. A context that begins anew would take every old packet for a new one.
#[test]
fn a_repeated_key_does_not_open_the_door_to_what_was_had() {
    let (mut caller, mut called) = agreed();
    let packet = sealed(caller.sealer().unwrap(), 10, 7);
    assert!(called.open_rtp(&packet).is_ok());
    called.accept(Some(&caller.offer()[2])).unwrap();
    assert_eq!(called.open_rtp(&packet), Err(Unopened::Replayed));
}

#[test]
fn only_an_answer_to_a_line_of_ours_is_taken() {
    let (mut caller, mut called) = agreed();
    let mut answer = called.accept(Some(&caller.offer()[3])).unwrap();
    assert_eq!(caller.apply_answer(std::slice::from_ref(&answer)), Ok(()));
    answer.tag = 1;
    assert_eq!(caller.apply_answer(&[answer]), Err(MediaError::NoUsableKey));
}

#[test]
fn without_agreed_keys_packets_pass_as_they_are() {
    let (mut caller, _) = agreed();
    caller.apply_answer(&[]).unwrap();
    assert!(caller.sealer().is_none() && !caller.is_agreed());
    assert_eq!(caller.open_rtp(&[1, 2, 3]), Ok(&[1, 2, 3][..]));
}

proptest! {
    #[test]
    fn no_datagram_makes_the_opener_panic(datagram in proptest::collection::vec(any::<u8>(), 0..80), suite in 0usize..4) {
        let (_, mut opener) = pair(Suite::ALL[suite]);
        prop_assert!(opener.open_rtp(&datagram).is_err());
        prop_assert!(opener.open_rtcp(&datagram).is_err());
    }
}
