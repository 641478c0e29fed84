//! Message summaries: `application/simple-message-summary` (RFC 3842).

/// What a mailbox holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageSummary {
    /// Whether anything waits to be heard: what lights the lamp.
    pub waiting: bool,
    /// Voice messages, where the PBX counts them.
    pub voice: Option<VoiceMessages>,
}

/// Voice messages, urgent ones among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VoiceMessages {
    /// Not heard yet.
    pub new: u32,
    /// Heard and kept.
    pub old: u32,
}

/// Lines that are looked at; a summary has three, and headers of single
/// messages may follow.
const MAX_LINES: usize = 100;

impl MessageSummary {
    /// Reads a body; `None` where it does not say whether messages wait.
    pub(crate) fn parse(body: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(body);
        let (mut waiting, mut voice) = (None, None);
        // What follows an empty line is about single messages (RFC 3842 §5.2).
        let lines = text.trim_start().lines().take(MAX_LINES);
        for line in lines.take_while(|line| !line.trim().is_empty()) {
            let Some((name, value)) = line.split_once(':') else {
                continue;
            };
            let (name, value) = (name.trim(), value.trim());
            if name.eq_ignore_ascii_case("Messages-Waiting") {
                waiting = Some(waits(value)?);
            } else if name.eq_ignore_ascii_case("Voice-Message") {
                voice = Some(VoiceMessages::parse(value)?);
            }
        }
        Some(Self {
            waiting: waiting?,
            voice,
        })
    }
}

fn waits(value: &str) -> Option<bool> {
    match value {
        _ if value.eq_ignore_ascii_case("yes") => Some(true),
        _ if value.eq_ignore_ascii_case("no") => Some(false),
        _ => None,
    }
}

impl VoiceMessages {
    /// `new/old`, and perhaps the urgent ones among them in brackets.
    fn parse(value: &str) -> Option<Self> {
        let counts = value.split('(').next().unwrap_or_default();
        let (new, old) = counts.split_once('/')?;
        Some(Self {
            new: count(new)?,
            old: count(old)?,
        })
    }
}

/// A number that is too large for us is the largest that is not.
fn count(text: &str) -> Option<u32> {
    let text = text.trim();
    let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &str) -> Option<MessageSummary> {
        MessageSummary::parse(body.as_bytes())
    }

    fn counted(waiting: bool, new: u32, old: u32) -> Option<MessageSummary> {
        let voice = Some(VoiceMessages { new, old });
        Some(MessageSummary { waiting, voice })
    }

    #[test]
    fn a_summary_says_whether_messages_wait_and_how_many() {
        let body = "Messages-Waiting: yes\r\nMessage-Account: sip:alice@vmail.example.com\r\n\
                    Voice-Message: 2/8 (0/2)\r\n\r\nTo: <alice@atlanta.example.com>\r\n\
                    Messages-Waiting: no\r\n";
        assert_eq!(parse(body), counted(true, 2, 8));
        let bare = "messages-waiting:no\n";
        let none = MessageSummary {
            waiting: false,
            voice: None,
        };
        assert_eq!(parse(bare), Some(none));
        assert_eq!(
            parse("Voice-message : 0 / 1\nMESSAGES-WAITING :  No"),
            counted(false, 0, 1)
        );
    }

    #[test]
    fn faxes_alone_are_no_voice_messages() {
        let body = "Messages-Waiting: yes\r\nFax-Message: 1/0\r\n";
        assert_eq!(parse(body).and_then(|summary| summary.voice), None);
    }

    #[test]
    fn counts_that_nobody_could_hear_are_survived() {
        let body = "Messages-Waiting: yes\r\nVoice-Message: 99999999999999/0\r\n";
        assert_eq!(parse(body), counted(true, u32::MAX, 0));
    }

    #[test]
    fn what_does_not_say_whether_messages_wait_is_no_summary() {
        for body in [
            "",
            "\r\n\r\n",
            "Messages-Waiting: maybe\r\n",
            "Voice-Message: 1/0\r\n",
            "Messages-Waiting: yes\r\nVoice-Message: one/none\r\n",
            "Messages-Waiting: yes\r\nVoice-Message: -1/0\r\n",
            "Messages-Waiting: yes\r\nVoice-Message: 1\r\n",
        ] {
            assert_eq!(parse(body), None, "{body:?}");
        }
        let line = "X: y\r\n".repeat(MAX_LINES) + "Messages-Waiting: yes\r\n";
        assert_eq!(parse(&line), None);
        assert_eq!(MessageSummary::parse(&[0xff, 0xfe, 0]), None);
    }
}
