//! The histograms themselves, for other programs: `.hlog` is the interval log of HdrHistogram (V2, compressed), `.hgrm` its
//! table of percentiles.

use super::measurement::Measurement;
use crate::load::track::Track;
use anyhow::{Context, Result, anyhow};
use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::IntervalLogWriterBuilder;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Values are nanoseconds; the log's own unit for maxima is the same.
const STEPS: u32 = 5;

/// Writes all of a repetition into a directory, under the name of its case.
pub(crate) fn write(dir: &Path, name: &str, measurement: &Measurement) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    for (what, track) in &measurement.tracks {
        let path = path(dir, &format!("{name} {what}"));
        log(&path.with_extension("hlog"), track)?;
        percentiles(&path.with_extension("hgrm"), &track.total())?;
    }
    for (what, histogram) in &measurement.histograms {
        percentiles(&path(dir, &format!("{name} {what}")).with_extension("hgrm"), histogram)?;
    }
    Ok(())
}

/// A name that any file system takes.
fn path(dir: &Path, name: &str) -> PathBuf {
    let mut out = String::new();
    for character in name.chars() {
        match character {
            '→' => out.push_str("to"),
            '≤' => out.push_str("max"),
            'µ' => out.push('u'),
            c if c.is_ascii_alphanumeric() || c == '_' => out.push(c),
            // Numbers stay whole, and what parts words parts them once.
            ',' => {}
            '.' => out.push('_'),
            _ if out.ends_with('-') => {}
            _ => out.push('-'),
        }
    }
    // An extension would replace what follows a dot: there is none.
    dir.join(out)
}

fn log(path: &Path, track: &Track) -> Result<()> {
    let mut file = BufWriter::new(create(path)?);
    let mut serializer = V2DeflateSerializer::new();
    let mut log = IntervalLogWriterBuilder::new()
        .add_comment("fletch-perf, nanoseconds, by when messages were due")
        .with_start_time(SystemTime::now())
        .begin_log_with(&mut file, &mut serializer)?;
    for (at, length, part) in track.parts() {
        let span = Duration::from_secs_f64;
        log.write_histogram(part, span(at), span(length), None)
            .map_err(|error| anyhow!("{}: {error:?}", path.display()))?;
    }
    Ok(file.flush()?)
}

fn percentiles(path: &Path, latency: &Histogram<u64>) -> Result<()> {
    let mut file = BufWriter::new(create(path)?);
    writeln!(
        file,
        "{:>12} {:>14} {:>10} {:>14}\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    )?;
    let mut count = 0;
    for step in latency.iter_quantiles(STEPS) {
        count += step.count_since_last_iteration();
        let (value, quantile) = (step.value_iterated_to(), step.quantile_iterated_to());
        match quantile < 1.0 {
            true => writeln!(
                file,
                "{value:12} {quantile:14.12} {count:10} {:14.2}",
                1.0 / (1.0 - quantile)
            )?,
            false => writeln!(file, "{value:12} {quantile:14.12} {count:10}")?,
        }
    }
    writeln!(
        file,
        "#[Mean    = {:12.3}, StdDeviation   = {:12.3}]",
        latency.mean(),
        latency.stdev()
    )?;
    writeln!(file, "#[Max     = {:12}, Total count    = {:12}]", latency.max(), latency.len())?;
    Ok(file.flush()?)
}

fn create(path: &Path) -> Result<File> {
    File::create(path).with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::schedule::SECOND;
    use crate::load::track::Window;
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    #[test]
    fn names_are_plain() {
        let path = path(Path::new("d"), "throughput 1→50, 1,024 B (amqp1.0) transfer");
        assert_eq!(path, Path::new("d/throughput-1to50-1024-B-amqp1_0-transfer"));
    }

    #[test]
    fn what_is_written_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut track = Track::new(Window { from: 0, until: SECOND });
        (0..1_000u64).for_each(|at| track.record(at * SECOND / 1_000, at * SECOND / 1_000 + at));
        let measurement =
            Measurement { tracks: vec![("transfer".into(), track.clone())], ..Default::default() };
        write(dir.path(), "case", &measurement).unwrap();
        let log = fs::read(dir.path().join("case-transfer.hlog")).unwrap();
        let mut all = crate::load::track::histogram();
        for entry in IntervalLogIterator::new(&log) {
            if let LogEntry::Interval(interval) = entry.unwrap() {
                let octets = decoded(interval.encoded_histogram());
                all += Deserializer::new().deserialize::<u64, _>(&mut &octets[..]).unwrap();
            }
        }
        assert_eq!((all.len(), all.max()), (1_000, track.total().max()));
        let table = fs::read_to_string(dir.path().join("case-transfer.hgrm")).unwrap();
        assert!(table.lines().any(|line| line.contains("1.000000000000       1000")), "{table}");
    }

    /// Base64, as the log has it.
    fn decoded(text: &str) -> Vec<u8> {
        const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let (mut out, mut bits, mut held) = (Vec::new(), 0u32, 0);
        for octet in text.bytes().filter(|octet| *octet != b'=') {
            let six = ALPHABET.iter().position(|other| *other == octet).unwrap() as u32;
            (bits, held) = (bits << 6 | six, held + 6);
            if held >= 8 {
                held -= 8;
                out.push((bits >> held) as u8);
            }
        }
        out
    }
}
