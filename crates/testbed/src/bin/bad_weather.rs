//! Prints how calls sound in bad weather: `cargo run -p mxtrunk-testbed --bin bad-weather`, a minute or two, in virtual time.

use mxtrunk_testbed::quality::{Clause, HEADER, Hour, Listener};

fn main() -> anyhow::Result<()> {
    let listener = Listener::new()?;
    println!("{HEADER}");
    for clause in Clause::ALL {
        println!("{}", listener.scores(clause)?);
    }
    println!(
        "\n| an hour | first clip: PESQ | delay ms | last clip: PESQ | delay ms | received | lost | concealed | late |\n\
         |---|---|---|---|---|---|---|---|---|"
    );
    for ppm in [200.0, -200.0] {
        let Hour {
            first,
            last,
            counted,
            ..
        } = listener.hour(ppm)?;
        println!(
            "| drift {ppm:+} ppm | {:.2} | {} | {:.2} | {} | {} | {} | {} | {} |",
            first.pesq,
            first.delay_ms,
            last.pesq,
            last.delay_ms,
            counted.received.packets,
            counted.received.lost,
            counted.received.concealed,
            counted.dropped.late
        );
    }
    Ok(())
}
