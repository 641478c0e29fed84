//! Attacks 12 and 13 on a phone leg: whoever is not the phone hears nothing and is not heard, and SRTP survives what
//! networks and PBXes do to it.

mod bleed;
mod site;
mod srtp;
