//! Which log statements are written: levels, categories and rules as the reference broker has them.
//! Pure: a statement is judged once, when it is first met, by level, target and module path.

use std::fmt;

/// How serious a log line is, lowest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Every step.
    Trace,
    /// For finding faults.
    Debug,
    /// Worth knowing.
    Info,
    /// Normal, and worth a line in every log.
    Notice,
    /// Something is not as it should be.
    Warning,
    /// Something failed.
    Error,
    /// The broker cannot go on as it is.
    Critical,
}

/// Every level, lowest first.
const LEVELS: [Level; 7] = [
    Level::Trace,
    Level::Debug,
    Level::Info,
    Level::Notice,
    Level::Warning,
    Level::Error,
    Level::Critical,
];

impl Level {
    /// The word in log lines and rules.
    pub fn name(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        LEVELS.into_iter().find(|level| level.name() == text)
    }

    /// The level of a statement. tracing knows five; `notice!` and `critical!` mark theirs with a
    /// field of that name.
    pub(super) fn of(metadata: &tracing::Metadata<'_>) -> Self {
        let marked = |name| metadata.fields().field(name).is_some();
        match *metadata.level() {
            tracing::Level::TRACE => Self::Trace,
            tracing::Level::DEBUG => Self::Debug,
            tracing::Level::INFO if marked("notice") => Self::Notice,
            tracing::Level::INFO => Self::Info,
            tracing::Level::WARN => Self::Warning,
            tracing::Level::ERROR if marked("critical") => Self::Critical,
            tracing::Level::ERROR => Self::Error,
        }
    }

    /// The tracing level that carries this one.
    fn carrier(self) -> tracing::level_filters::LevelFilter {
        use tracing::level_filters::LevelFilter;
        match self {
            Self::Trace => LevelFilter::TRACE,
            Self::Debug => LevelFilter::DEBUG,
            Self::Info | Self::Notice => LevelFilter::INFO,
            Self::Warning => LevelFilter::WARN,
            Self::Error | Self::Critical => LevelFilter::ERROR,
        }
    }
}

/// The categories of log lines, named as the reference names them.
const CATEGORIES: [&str; 14] = [
    "Security",
    "Broker",
    "Management",
    "Protocol",
    "System",
    "HA",
    "Messaging",
    "Store",
    "Network",
    "Test",
    "Client",
    "Application",
    "Model",
    "Unspecified",
];

/// Parts of module paths and the category they speak for; the first that fits.
const CATEGORY_OF_MODULE: [(&str, &str); 17] = [
    ("::security", "Security"),
    ("::acl", "Security"),
    ("::sasl", "Security"),
    ("::tls", "Security"),
    ("::management", "Management"),
    ("::ha::", "HA"),
    ("::v0_10", "Protocol"),
    ("::v1_0", "Protocol"),
    ("fletch_amqp", "Protocol"),
    ("fletch_client", "Client"),
    ("fletch_journal", "Store"),
    ("::listen", "Network"),
    ("::socket", "Network"),
    ("fletch_shards", "System"),
    ("fletch_engine", "Broker"),
    ("fletch", "Broker"),
    ("broker", "Broker"),
];

/// The category of a statement: the target when it is one's name, else by the module.
pub(super) fn category(target: &str) -> &'static str {
    if let Some(named) = CATEGORIES.into_iter().find(|name| *name == target) {
        return named;
    }
    let fits = |(part, _): &&(&str, &str)| target.contains(part);
    CATEGORY_OF_MODULE.iter().find(fits).map_or("System", |(_, category)| category)
}

/// Why a rule is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected LEVEL[+|-][:PATTERN] with LEVEL one of trace debug info notice warning error critical"
)]
pub struct RuleError;

/// One rule: a range of levels, and the category or module it speaks of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    lowest: Level,
    highest: Level,
    /// Empty means everything.
    pattern: String,
}

impl Rule {
    /// Reads `LEVEL[+|-][:PATTERN]`: `+` is the level and above, `-` the level and below.
    pub fn parse(text: &str) -> Result<Self, RuleError> {
        let (level, pattern) = text.split_once(':').unwrap_or((text, ""));
        let (word, lowest, highest) = if let Some(word) = level.strip_suffix('+') {
            (word, None, Some(Level::Critical))
        } else if let Some(word) = level.strip_suffix('-') {
            (word, Some(Level::Trace), None)
        } else {
            (level, None, None)
        };
        let level = Level::parse(word).ok_or(RuleError)?;
        Ok(Self {
            lowest: lowest.unwrap_or(level),
            highest: highest.unwrap_or(level),
            pattern: pattern.to_owned(),
        })
    }

    /// The rule for that level and all above.
    pub fn at_least(level: Level) -> Self {
        Self { lowest: level, highest: Level::Critical, pattern: String::new() }
    }

    /// Whether the pattern is one of the reference broker's function names, which match
    /// nothing here.
    pub fn names_reference_function(&self) -> bool {
        self.pattern.contains("qpid::")
    }

    fn fits(&self, level: Level, category: &str, target: &str, module: &str) -> bool {
        (self.lowest..=self.highest).contains(&level)
            && if CATEGORIES.contains(&self.pattern.as_str()) {
                self.pattern == category
            } else {
                target.contains(&self.pattern) || module.contains(&self.pattern)
            }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (level, range) = match (self.lowest, self.highest) {
            (lowest, highest) if lowest == highest => (lowest, ""),
            (lowest, Level::Critical) => (lowest, "+"),
            (_, highest) => (highest, "-"),
        };
        write!(f, "{}{range}", level.name())?;
        if self.pattern.is_empty() { Ok(()) } else { write!(f, ":{}", self.pattern) }
    }
}

/// All rules. A statement is written when some rule enables it and none disables it; critical ones
/// are always written.
#[derive(Debug, Clone)]
pub(super) struct Selector {
    enable: Vec<Rule>,
    disable: Vec<Rule>,
}

impl Selector {
    pub(super) fn new(enable: Vec<Rule>, disable: Vec<Rule>) -> Self {
        Self { enable, disable }
    }

    /// Judges a statement.
    pub(super) fn selects(&self, metadata: &tracing::Metadata<'_>) -> bool {
        let module = metadata.module_path().unwrap_or_default();
        self.judge(Level::of(metadata), metadata.target(), module)
    }

    fn judge(&self, level: Level, target: &str, module: &str) -> bool {
        let category = category(target);
        let any =
            |rules: &[Rule]| rules.iter().any(|rule| rule.fits(level, category, target, module));
        level == Level::Critical || (any(&self.enable) && !any(&self.disable))
    }

    /// The most verbose tracing level any rule lets through; statements below cost one comparison.
    pub(super) fn most_verbose(&self) -> tracing::level_filters::LevelFilter {
        let lowest = self.enable.iter().map(|rule| rule.lowest).min().unwrap_or(Level::Critical);
        lowest.carrier()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selector(enable: &[&str], disable: &[&str]) -> Selector {
        let rules = |texts: &[&str]| texts.iter().map(|text| Rule::parse(text).unwrap()).collect();
        Selector::new(rules(enable), rules(disable))
    }

    const PROTOCOL: &str = "fletch::v0_10::session";

    #[test]
    fn a_level_alone_above_and_below() {
        let only = selector(&["info"], &[]);
        let above = selector(&["notice+"], &[]);
        let below = selector(&["debug-"], &[]);
        for level in LEVELS {
            let judge = |selector: &Selector| selector.judge(level, PROTOCOL, PROTOCOL);
            assert_eq!(judge(&only), level == Level::Info || level == Level::Critical);
            assert_eq!(judge(&above), level >= Level::Notice);
            assert_eq!(judge(&below), level <= Level::Debug || level == Level::Critical);
        }
    }

    #[test]
    fn patterns_are_categories_or_parts_of_module_paths() {
        let by_category = selector(&["trace+:Protocol"], &[]);
        assert!(by_category.judge(Level::Trace, PROTOCOL, PROTOCOL));
        assert!(by_category.judge(Level::Trace, "Protocol", "elsewhere"));
        assert!(!by_category.judge(Level::Trace, "fletch::daemon", "fletch::daemon"));
        let by_module = selector(&["debug:session"], &[]);
        assert!(by_module.judge(Level::Debug, PROTOCOL, PROTOCOL));
        assert!(by_module.judge(Level::Debug, "Model", PROTOCOL));
        assert!(!by_module.judge(Level::Trace, PROTOCOL, PROTOCOL));
    }

    #[test]
    fn disable_wins_except_over_critical() {
        let selector = selector(&["trace+"], &["error-:Protocol", "critical"]);
        assert!(!selector.judge(Level::Error, PROTOCOL, PROTOCOL));
        assert!(selector.judge(Level::Error, "Store", "fletch_journal"));
        assert!(selector.judge(Level::Critical, PROTOCOL, PROTOCOL));
    }

    #[test]
    fn rules_print_as_they_were_written() {
        for text in ["notice+", "debug-:Store", "trace:fletch::v0_10", "critical"] {
            assert_eq!(Rule::parse(text).unwrap().to_string(), text);
        }
        for wrong in ["", "loud", "+", "notice++", "NOTICE+", ":Broker"] {
            assert_eq!(Rule::parse(wrong), Err(RuleError), "{wrong}");
        }
    }

    #[test]
    fn the_most_verbose_level_follows_the_rules() {
        use tracing::level_filters::LevelFilter;
        assert_eq!(selector(&["notice+"], &[]).most_verbose(), LevelFilter::INFO);
        assert_eq!(selector(&["notice+", "trace+:Store"], &[]).most_verbose(), LevelFilter::TRACE);
        assert_eq!(selector(&["error"], &[]).most_verbose(), LevelFilter::ERROR);
    }

    #[test]
    fn categories_of_modules() {
        assert_eq!(category("fletch::daemon"), "Broker");
        assert_eq!(category("fletch_shards::runtime"), "System");
        assert_eq!(category("Network"), "Network");
        assert_eq!(category("glommio::executor"), "System");
    }
}
