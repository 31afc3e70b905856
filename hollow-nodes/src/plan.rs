//! What a hollow node does next with a pod, and when. Pure.

use crate::Config;
use crate::pod::{Ending, Pod};
use std::time::Duration;

/// The next step with a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Report it running.
    Start,
    /// Report that its first container crashed and runs again.
    Restart,
    /// Report that it ended.
    End(Ending),
    /// Let it go.
    Stop,
}

/// The next step with a pod that is bound to the node, and how long it takes until then; `None` when it stays as it is.
pub fn next(config: &Config, pod: &Pod) -> Option<(Step, Duration)> {
    let random = pod.random();
    if pod.metadata.deletion_timestamp.is_some() {
        return Some((Step::Stop, config.stop_after.of(random)));
    }
    // Other bits than those that choose the delays.
    let crashes = config.crash_share.holds(random >> 32) && pod.restarts() == 0;
    let step = match (pod.status.phase.as_str(), pod.spec.restart_policy.as_str()) {
        ("" | "Pending", _) => return Some((Step::Start, config.start_after.of(random))),
        ("Running", "Never") if crashes => Step::End(Ending::Failed),
        ("Running", _) if crashes => Step::Restart,
        ("Running", "Never" | "OnFailure") => Step::End(Ending::Succeeded),
        _ => return None,
    };
    Some((step, config.run_for.of(random)))
}

/// Whether a node that began `since` ago is silent now: it neither beats nor watches.
pub fn is_silent(config: &Config, random: u64, since: Duration) -> bool {
    let silent = config.silent_after..config.silent_after + config.silent_for;
    config.silent_share.holds(random) && silent.contains(&since)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::testing::pod;

    fn step(crash_share: &str, pod: &Pod) -> Option<Step> {
        let config = Config { crash_share: crash_share.parse().expect("a share"), ..Config::default() };
        next(&config, pod).map(|(step, _)| step)
    }

    #[test]
    fn a_pod_goes_its_way_by_what_it_shows() {
        let cases = [
            ("", "Always", Some(Step::Start)),
            ("Pending", "Never", Some(Step::Start)),
            ("Running", "Always", None),
            ("Running", "OnFailure", Some(Step::End(Ending::Succeeded))),
            ("Running", "Never", Some(Step::End(Ending::Succeeded))),
            ("Succeeded", "Never", None),
            ("Failed", "Never", None),
        ];
        for (phase, policy, expected) in cases {
            assert_eq!(step("0", &pod(phase, policy)), expected, "{phase} {policy}");
        }
    }

    #[test]
    fn a_pod_that_is_deleted_is_let_go_in_any_phase() {
        for phase in ["Pending", "Running", "Succeeded"] {
            let mut pod = pod(phase, "Always");
            pod.metadata.deletion_timestamp = Some(serde::de::IgnoredAny);
            assert_eq!(step("0", &pod), Some(Step::Stop), "{phase}");
        }
    }

    #[test]
    fn a_crash_comes_once() {
        assert_eq!(step("1", &pod("Running", "Never")), Some(Step::End(Ending::Failed)));
        assert_eq!(step("1", &pod("Running", "Always")), Some(Step::Restart));
        let mut again = pod("Running", "Always");
        again.status.container_statuses = vec![crate::pod::ContainerStatus { restart_count: 1 }];
        assert_eq!(step("1", &again), None);
        again.spec.restart_policy = "OnFailure".to_owned();
        assert_eq!(step("1", &again), Some(Step::End(Ending::Succeeded)));
    }

    #[test]
    fn a_silent_node_is_silent_for_its_time_alone() {
        let config = Config { silent_share: "1".parse().expect("all"), ..Config::default() };
        let at = |secs| is_silent(&config, 1, Duration::from_secs(secs));
        assert_eq!([0, 59, 60, 179, 180].map(at), [false, false, true, true, false]);
        assert!(!is_silent(&Config::default(), 1, Duration::from_secs(70)));
    }
}
