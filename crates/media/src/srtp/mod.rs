//! SRTP of the phone leg with keys from SDP (RFC 3711, RFC 4568, RFC 7714): sealed in place behind the header that we
//! just wrote, opened into a buffer of the leg.

mod keys;
mod open;
mod replay;
mod sdes;
mod seal;
mod suite;
#[cfg(test)]
mod tests;
mod transform;

pub use keys::SrtpSecret;
use open::Opener;
pub(crate) use open::Unopened;
pub(crate) use sdes::Crypto;
pub(crate) use seal::Sealer;
use suite::Suite;

use crate::error::MediaError;

/// The protection of one leg: our keys, and the peer's once it is agreed.
#[derive(Debug)]
pub(crate) struct Srtp {
    secret: SrtpSecret,
    /// How often our keys had to change.
    generation: u32,
    /// Of this generation, by suite. One that was used stays while its key does: an index must never come again.
    sealers: [Option<Box<Sealer>>; Suite::ALL.len()],
    agreed: Option<Agreed>,
}

#[derive(Debug)]
struct Agreed {
    opener: Box<Opener>,
    /// That of the key before the last change, until the peer uses the new one.
    previous: Option<Box<Opener>>,
}

impl Srtp {
    pub(crate) fn new(secret: SrtpSecret) -> Self {
        Srtp {
            secret,
            generation: 0,
            sealers: Default::default(),
            agreed: None,
        }
    }

    /// What we offer: every suite, each with a key of its own.
    pub(crate) fn offer(&self) -> Vec<Crypto> {
        let tags = 1..;
        let suites = Suite::ALL.into_iter().zip(tags);
        suites.map(|(suite, tag)| self.ours(suite, tag)).collect()
    }

    /// The peer's answer to our offer holds these lines; none: it wants plain RTP.
    pub(crate) fn apply_answer(&mut self, answered: &[Crypto]) -> Result<(), MediaError> {
        let offered = self.offer();
        let fits = |answer: &&Crypto| {
            let same =
                |offer: &Crypto| offer.tag == answer.tag && offer.key.suite == answer.key.suite;
            offered.iter().any(same)
        };
        match answered.iter().find(fits) {
            Some(theirs) => self.agree(theirs),
            None if answered.is_empty() => self.agreed = None,
            None => return Err(MediaError::NoUsableKey),
        }
        Ok(())
    }

    /// From now on the peer's key opens what comes.
    fn agree(&mut self, theirs: &Crypto) {
        let suite = theirs.key.suite;
        let (secret, generation) = (&self.secret, self.generation);
        self.sealers[suite.index()]
            .get_or_insert_with(|| Box::new(Sealer::new(&secret.master_key(suite, generation))));
        match &mut self.agreed {
            // RFC 4568 section 7.1.4 lets a description repeat a key: then roll-over counters and windows go on.
            Some(agreed) if agreed.opener.has_key(&theirs.key) => {}
            Some(agreed) => {
                let opener = Box::new(Opener::new(theirs.key.clone()));
                agreed.previous = Some(std::mem::replace(&mut agreed.opener, opener));
            }
            None => {
                self.agreed = Some(Agreed {
                    opener: Box::new(Opener::new(theirs.key.clone())),
                    previous: None,
                });
            }
        }
    }

    /// Takes up the key in the peer's offer, `None`: it wants plain RTP. Yields our line of the answer. A peer with a
    /// new key has begun anew, and many forget our roll-over counter then: so ours is new as well.
    pub(crate) fn accept(&mut self, theirs: Option<&Crypto>) -> Option<Crypto> {
        let Some(theirs) = theirs else {
            self.agreed = None;
            return None;
        };
        let goes_on = |agreed: &Agreed| agreed.opener.has_key(&theirs.key);
        if !self.agreed.as_ref().is_some_and(goes_on) && self.sealers.iter().any(Option::is_some) {
            self.generation += 1;
            self.sealers = Default::default();
        }
        self.agree(theirs);
        Some(self.ours(theirs.key.suite, theirs.tag))
    }

    /// Whether packets are protected now.
    pub(crate) fn is_agreed(&self) -> bool {
        self.agreed.is_some()
    }

    /// Our line as the last answer held it.
    #[cfg(test)]
    pub(crate) fn in_use(&self) -> Option<Crypto> {
        let agreed = self.agreed.as_ref()?;
        Some(self.ours(agreed.opener.suite(), 1))
    }

    fn ours(&self, suite: Suite, tag: u32) -> Crypto {
        Crypto {
            tag,
            key: self.secret.master_key(suite, self.generation),
        }
    }

    /// What seals now; `None`: packets go as they are.
    pub(crate) fn sealer(&mut self) -> Option<&mut Sealer> {
        let agreed = self.agreed.as_ref()?;
        self.sealers[agreed.opener.suite().index()].as_deref_mut()
    }

    /// The RTP packet inside a datagram, which must be genuine and new; without agreed keys the datagram itself.
    pub(crate) fn open_rtp<'a>(&'a mut self, datagram: &'a [u8]) -> Result<&'a [u8], Unopened> {
        self.open(datagram, Opener::open_rtp)
    }

    /// The same for RTCP.
    pub(crate) fn open_rtcp<'a>(&'a mut self, datagram: &'a [u8]) -> Result<&'a [u8], Unopened> {
        self.open(datagram, Opener::open_rtcp)
    }

    fn open<'a>(
        &'a mut self,
        datagram: &'a [u8],
        open: fn(&mut Opener, &[u8]) -> Result<(), Unopened>,
    ) -> Result<&'a [u8], Unopened> {
        let Some(agreed) = &mut self.agreed else {
            return Ok(datagram);
        };
        match (open(&mut agreed.opener, datagram), &mut agreed.previous) {
            (Ok(()), previous) => {
                *previous = None;
                Ok(agreed.opener.opened())
            }
            // Our answer with the change of keys may not have arrived yet.
            (Err(Unopened::Forged), Some(previous)) => {
                open(previous, datagram)?;
                Ok(previous.opened())
            }
            (Err(why), _) => Err(why),
        }
    }
}
