//! Profiles of deployments: what `--profile` sets, beneath everything that is set by itself. What each costs
//! and gives is in perf/NOTES.md.

use super::sources::{ConfigError, Source, Values};

/// What each profile sets.
const PROFILES: [(&str, &[(&str, &str)]); 3] = [
    // The cores are the broker's own.
    (
        "low-latency",
        &[
            ("idle-strategy", "busy"),
            ("placement", "least-connections"),
            ("read-size", "64k"),
            ("tcp-busy-poll", "50us"),
            ("tcp-quick-ack", "yes"),
        ],
    ),
    // Much is handled in one go.
    (
        "throughput",
        &[
            ("idle-strategy", "spin:20us"),
            ("placement", "least-connections"),
            ("read-size", "256k"),
        ],
    ),
    // Others need the processors too.
    (
        "shared",
        &[("idle-strategy", "park"), ("placement", "least-connections"), ("read-size", "64k")],
    ),
];

/// What the profile of this name sets. The table has checked the name.
///
/// # Errors
/// If the option that names it makes no sense.
pub(super) fn values(name: &str) -> Result<Values, ConfigError> {
    let mut values = Values::default();
    let (name, settings) = PROFILES.iter().find(|(known, _)| *known == name).unwrap_or(&("", &[]));
    for (option, text) in *settings {
        values.set(option, text, Source::Profile(name))?;
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::super::table::{self, Kind};
    use super::*;

    #[test]
    fn the_table_knows_the_profiles_and_all_that_they_set() {
        let option = table::find("profile").expect("an option");
        let Kind::Choice(names) = option.kind else { panic!("not a choice") };
        assert_eq!(names, PROFILES.map(|(name, _)| name));
        for name in names {
            let values = values(name).expect("all of it makes sense");
            let (texts, source) = values.get("idle-strategy").expect("each says that");
            assert_eq!((texts.len(), source.to_string()), (1, format!("--profile {name}")));
        }
    }
}
