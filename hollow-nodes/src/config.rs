//! What kind of nodes there are, how fast their pods start, and what goes wrong with them.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

/// Everything that can be chosen.
#[derive(Clone, Debug)]
pub struct Config {
    pub count: u32,
    /// A node's name is this and its number, from 0.
    pub name_prefix: String,
    /// What each node offers, as quantities.
    pub cpu: String,
    pub memory: String,
    pub pods: u32,
    /// Further resources, as `example.com/gpu` with a quantity.
    pub extended: BTreeMap<String, String>,
    /// Put on every node.
    pub labels: BTreeMap<String, String>,
    /// Nodes are spread over as many zones, `zone-0` and on.
    pub zones: u32,
    /// The share of nodes that also run virtual machines.
    pub vm_share: Share,
    /// From a pod's binding until it is reported running.
    pub start_after: Delay,
    /// From a pod's start until it has succeeded, for pods that are not restarted always.
    pub run_for: Delay,
    /// From a pod's deletion until the node lets it go.
    pub stop_after: Delay,
    pub heartbeat_every: Duration,
    /// How much of a hundred of what they request the containers use. Without it the nodes do not report what is used.
    pub usage: Option<u32>,
    pub usage_every: Duration,
    /// The share of pods whose first container crashes once: those that are never restarted fail.
    pub crash_share: Share,
    /// The share of nodes that fall silent, and when, and for how long.
    pub silent_share: Share,
    pub silent_after: Duration,
    pub silent_for: Duration,
    /// Whether the nodes are deleted at the end. Else they stay, and look as if their machines had lost power.
    pub delete_nodes: bool,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            count: 10,
            name_prefix: "hollow-".to_owned(),
            cpu: "8".to_owned(),
            memory: "32Gi".to_owned(),
            pods: 110,
            extended: BTreeMap::new(),
            labels: BTreeMap::new(),
            zones: 1,
            vm_share: Share::NONE,
            start_after: Delay::between(Duration::from_millis(50), Duration::from_millis(250)),
            run_for: Delay::between(Duration::from_secs(1), Duration::from_secs(2)),
            stop_after: Delay::between(Duration::from_millis(20), Duration::from_millis(100)),
            heartbeat_every: Duration::from_secs(10),
            usage: None,
            usage_every: Duration::from_secs(15),
            crash_share: Share::NONE,
            silent_share: Share::NONE,
            silent_after: Duration::from_secs(60),
            silent_for: Duration::from_secs(120),
            delete_nodes: false,
        }
    }
}

impl Config {
    /// Refuses what cannot be meant. The message names the field.
    pub fn check(&self) -> Result<(), String> {
        let last = format!("{}{}", self.name_prefix, self.count.saturating_sub(1));
        if !api::is_dns_subdomain(&last) {
            return Err(format!("{last:?} cannot name a node; give another name prefix"));
        }
        if self.zones == 0 {
            return Err("there must be at least one zone".to_owned());
        }
        if self.heartbeat_every < Duration::from_secs(1) {
            return Err("heartbeats come at most once a second".to_owned());
        }
        if self.usage_every < Duration::from_secs(1) {
            return Err("usage is reported at most once a second".to_owned());
        }
        let fixed = [("cpu", &self.cpu), ("memory", &self.memory)];
        let extended = self.extended.iter().map(|(name, amount)| (name.as_str(), amount));
        for (name, amount) in fixed.into_iter().chain(extended) {
            if api::Quantity::parse(amount).is_none_or(|parsed| parsed.is_negative()) {
                return Err(format!("{amount:?} is not an amount of {name}, such as 8 or 32Gi"));
            }
        }
        Ok(())
    }
}

/// A duration chosen between two, evenly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delay {
    least: Duration,
    most: Duration,
}

impl Delay {
    pub fn between(least: Duration, most: Duration) -> Delay {
        Delay { least, most: most.max(least) }
    }

    /// The delay for something that is known by a number which is as good as random.
    pub fn of(self, random: u64) -> Duration {
        let width = u64::try_from((self.most - self.least).as_micros()).unwrap_or(u64::MAX);
        self.least + Duration::from_micros(random % width.saturating_add(1))
    }
}

impl FromStr for Delay {
    type Err = String;

    /// `200ms`, or `200ms..2s`.
    fn from_str(text: &str) -> Result<Delay, String> {
        let (least, most) = text.split_once("..").unwrap_or((text, text));
        let (least, most) = (duration(least)?, duration(most)?);
        if most < least { Err(format!("{text:?} ends before it begins")) } else { Ok(Delay { least, most }) }
    }
}

/// Reads a duration such as `250ms`, `10s`, `5m` or `1h`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let millis = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => 0,
    };
    let parsed = number.parse::<u64>().ok().filter(|_| millis > 0).and_then(|n| n.checked_mul(millis));
    parsed.map(Duration::from_millis).ok_or_else(|| format!("{text:?} is not a duration such as 250ms, 10s or 5m"))
}

/// A part of a whole, in millionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share(u32);

impl Share {
    pub const NONE: Share = Share(0);
    const WHOLE: u32 = 1_000_000;

    /// Whether something belongs to the share, known by a number which is as good as random.
    pub fn holds(self, random: u64) -> bool {
        random % u64::from(Share::WHOLE) < u64::from(self.0)
    }
}

impl FromStr for Share {
    type Err = String;

    /// `0.05` for one of twenty.
    fn from_str(text: &str) -> Result<Share, String> {
        let share = text.parse::<f64>().ok().filter(|share| (0.0..=1.0).contains(share));
        let share = share.ok_or_else(|| format!("{text:?} is not a share between 0 and 1"))?;
        Ok(Share((share * f64::from(Share::WHOLE)).round() as u32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_are_read_and_stay_in_their_bounds() {
        let delay: Delay = "200ms..2s".parse().expect("a delay");
        for random in [0, 1, 17, 1_799_999, 1_800_000, u64::MAX] {
            let chosen = delay.of(random);
            assert!((Duration::from_millis(200)..=Duration::from_secs(2)).contains(&chosen), "{chosen:?}");
        }
        assert_eq!("5m".parse::<Delay>().expect("one duration").of(u64::MAX), Duration::from_secs(300));
        for bad in ["", "5", "s", "-1s", "2s..1s", "1d", "99999999999999999999s", "18446744073709551615h"] {
            assert!(bad.parse::<Delay>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_share_holds_as_many_as_it_says() {
        let share: Share = "0.25".parse().expect("a share");
        assert_eq!((0..1_000_000).filter(|&n| share.holds(n)).count(), 250_000);
        assert!(!Share::NONE.holds(0));
        assert!("1".parse::<Share>().expect("all").holds(999_999));
        for bad in ["", "-0.1", "1.1", "NaN", "x"] {
            assert!(bad.parse::<Share>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_name() {
        let is_refused = |change: fn(&mut Config), word: &str| {
            let mut config = Config::default();
            change(&mut config);
            let why = config.check().expect_err(word);
            assert!(why.contains(word), "{why}");
        };
        assert_eq!(Config::default().check(), Ok(()));
        is_refused(|c| c.name_prefix = "Hollow_".to_owned(), "Hollow_9");
        is_refused(|c| c.zones = 0, "zone");
        is_refused(|c| c.cpu = "many".to_owned(), "cpu");
        is_refused(|c| c.memory = "-1Gi".to_owned(), "memory");
        is_refused(|c| c.extended = [("a.b/gpu".to_owned(), "x".to_owned())].into(), "a.b/gpu");
        is_refused(|c| c.heartbeat_every = Duration::ZERO, "heartbeats");
        is_refused(|c| c.usage_every = Duration::ZERO, "usage");
    }
}
