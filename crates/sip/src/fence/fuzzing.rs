//! The fence as the fuzz targets see it.

use super::mend;
use super::screen::{self, Verdict};
use super::stream::Frames;

/// What the stack gets of a datagram, if it gets it. One that is to be answered
/// gets an answer that is text; one that is mended is right thereafter.
pub(crate) fn let_in(datagram: &[u8]) -> Option<Vec<u8>> {
    match screen::screen(datagram) {
        Verdict::Pass => {}
        Verdict::KeepAlive | Verdict::Drop => return None,
        Verdict::Answer(status, phrase) => {
            let source = ([192, 0, 2, 1], 5060).into();
            let answer = screen::answer(datagram, source, status, phrase);
            let answer = String::from_utf8(answer.expect("what is refused is answered"));
            let answer = answer.expect("an answer is text");
            assert!(answer.starts_with("SIP/2.0 ") && answer.ends_with("\r\n\r\n"));
            return None;
        }
    }
    let Some(mended) = mend::mended(datagram) else {
        return Some(datagram.to_vec());
    };
    assert_eq!(
        screen::screen(&mended),
        Verdict::Pass,
        "mending breaks nothing"
    );
    assert_eq!(mend::mended(&mended), None, "it is mended at once");
    Some(mended)
}

/// Cuts a stream that comes whole and in pieces: what comes out is alike.
pub(crate) fn cut_alike(stream: &[u8], piece: usize) {
    let whole = Frames::cut(stream, stream.len().max(1));
    assert_eq!(whole, Frames::cut(stream, piece));
}
