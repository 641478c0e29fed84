//! Which way audio may go (RFC 3264 section 6.1): what each far end wants, and what we let it have of the other.

/// Seen from the one who writes the description.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Direction {
    pub(crate) sends: bool,
    pub(crate) receives: bool,
}

impl Direction {
    pub(crate) const BOTH: Direction = Direction {
        sends: true,
        receives: true,
    };

    pub(crate) fn of_attribute(name: &str) -> Option<Self> {
        let (sends, receives) = match name {
            "sendrecv" => (true, true),
            "sendonly" => (true, false),
            "recvonly" => (false, true),
            "inactive" => (false, false),
            _ => return None,
        };
        Some(Direction { sends, receives })
    }

    pub(crate) fn attribute(self) -> &'static str {
        match (self.sends, self.receives) {
            (true, true) => "sendrecv",
            (true, false) => "sendonly",
            (false, true) => "recvonly",
            (false, false) => "inactive",
        }
    }

    /// The same seen from the other end.
    pub(crate) fn mirrored(self) -> Self {
        Direction {
            sends: self.receives,
            receives: self.sends,
        }
    }

    /// What both let pass.
    pub(crate) fn and(self, other: Self) -> Self {
        Direction {
            sends: self.sends && other.sends,
            receives: self.receives && other.receives,
        }
    }
}

/// What one far end wants, and what its last description of ours let it have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hold {
    /// Seen from the far end.
    wish: Direction,
    /// Seen from us: what the other side of the call gave and took then.
    told: Direction,
}

impl Default for Hold {
    fn default() -> Self {
        Hold {
            wish: Direction::BOTH,
            told: Direction::BOTH,
        }
    }
}

impl Hold {
    pub(crate) fn wish(&self) -> Direction {
        self.wish
    }

    /// The far end offered this.
    pub(crate) fn offered(&mut self, direction: Direction) {
        self.wish = direction;
    }

    /// It answered this to our offer. What we did not offer it could not want: that stays as it was.
    pub(crate) fn answered(&mut self, direction: Direction) {
        if self.told.sends {
            self.wish.receives = direction.receives;
        }
        if self.told.receives {
            self.wish.sends = direction.sends;
        }
    }

    /// A description of ours says that we let this pass.
    pub(crate) fn tell(&mut self, permit: Direction) {
        self.told = permit;
    }

    /// Whether the far end has to be told anew.
    pub(crate) fn is_stale(&self, permit: Direction) -> bool {
        self.told != permit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENDONLY: Direction = Direction {
        sends: true,
        receives: false,
    };

    #[test]
    fn an_attribute_reads_as_it_was_written() {
        for name in ["sendrecv", "sendonly", "recvonly", "inactive"] {
            let direction = Direction::of_attribute(name).expect("a direction");
            assert_eq!(direction.attribute(), name);
            assert_eq!(direction.mirrored().mirrored(), direction);
        }
        assert_eq!(Direction::of_attribute("sideways"), None);
    }

    #[test]
    fn an_answer_to_a_hold_is_no_hold_of_the_far_ends_own() {
        let mut hold = Hold::default();
        hold.tell(SENDONLY);
        // recvonly is all that it could say.
        hold.answered(SENDONLY.mirrored());
        assert_eq!(hold.wish(), Direction::BOTH);
        hold.tell(Direction::BOTH);
        hold.answered(SENDONLY);
        assert_eq!(hold.wish(), SENDONLY);
    }
}
