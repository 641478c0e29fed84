//! Keys of our side in a call.

use rsipstack::sip::Response;

use super::{Established, Next};
use crate::event::EndCause;
use crate::key::Key;
use crate::keys::Unknown;

impl Established {
    pub(super) fn press(&mut self, key: Key) {
        self.keys.press(&self.leg, key);
        self.send_next_key();
    }

    pub(super) fn send_next_key(&mut self) {
        self.keys.send_next(&self.leg, &mut self.dialog);
    }

    pub(super) async fn on_key_answered(&mut self, response: Response) -> Next {
        let (leg, dialog) = (&self.leg, &mut self.dialog);
        if let Err(Unknown) = self.keys.on_answered(leg, dialog, &response) {
            return self.end(EndCause::Unknown, None).await;
        }
        self.send_next_key();
        Next::Wait
    }

    pub(super) fn on_key_over(&mut self) {
        self.keys.on_over();
        self.send_next_key();
    }
}
