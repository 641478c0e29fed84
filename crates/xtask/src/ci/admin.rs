//! schemathesis against the admin interface of a gateway that runs: requests made up after `docs/openapi.json`, good and bad
//! ones, whose answers have to be what that document says.

use xtask::step::{cargo, visibly};
use xtask::{Failure, provision};

/// The test that starts the gateway.
const TEST: &str = "e2e::sip::interface::the_interface_is_what_its_document_says";

/// Puts schemathesis in place once, and has the test run it.
pub(super) fn check() -> Result<(), Failure> {
    let program = provision::schemathesis()?;
    let mut test = cargo();
    test.args(["test", "--workspace", "--test", "mxtrunk", TEST]);
    visibly(
        test.args(["--", "--exact", "--ignored"])
            .env("MXTRUNK_SCHEMATHESIS", program),
    )
}
