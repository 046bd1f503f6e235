//! What it takes to attach and to detach a link of AMQP 1.0, one after the other on one session: the same for each, however
//! many there are.
//!
//! The broker runs already, and has a queue called `fletch-perf.links` or makes it.

use clap::Parser;
use comfy_table::{CellAlignment, Table, presets};
use fletch_client::ConnectOptions;
use fletch_client::v1_0::{Connection, Sender, SenderOptions, Terminus};
use std::time::{Duration, Instant};

#[derive(Parser)]
#[command(about = "Benchmark of links on one session")]
struct Options {
    /// HOST:PORT of the broker.
    broker: String,
    /// How many links there are at a time.
    #[arg(long, value_delimiter = ',', default_value = "1000,10000")]
    links: Vec<u32>,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["links", "attach, µs each", "detach, µs each"]);
    for links in options.links {
        let connection = Connection::connect(&*options.broker, &ConnectOptions::default())?;
        let session = connection.session()?;
        let capabilities = vec!["create-on-demand".into(), "queue".into()];
        let target = Terminus { capabilities, ..Terminus::of("fletch-perf.links") };
        let how = SenderOptions { target, ..SenderOptions::default() };
        let began = Instant::now();
        let attached: Vec<Sender> =
            (0..links).map(|_| session.sender(&how)).collect::<Result<_, _>>()?;
        let (attaching, began) = (began.elapsed(), Instant::now());
        attached.iter().try_for_each(Sender::close)?;
        let detaching = began.elapsed();
        let each = |all: Duration| format!("{:.1}", all.as_secs_f64() * 1e6 / f64::from(links));
        table.add_row([links.to_string(), each(attaching), each(detaching)]);
        connection.close()?;
    }
    for column in table.column_iter_mut() {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{table}");
    Ok(())
}
