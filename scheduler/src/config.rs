//! The file of `--scheduler-config`: `KubeSchedulerConfiguration`, of group `kubescheduler.config.k8s.io/v1`, as profiles.
//!
//! Invariant: what cannot be followed is refused, not passed over. Fields that say how fast kube-scheduler works, as
//! `parallelism` and `percentageOfNodesToScore`, say nothing here and are accepted: all nodes are looked at.

use crate::placement::{
    Candidates, DefaultSpread, FitArguments, NodeSelector, Profile, RESOURCES_MAX, ScoredResource, Strategy, wire,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

const API_VERSION: &str = "kubescheduler.config.k8s.io/v1";
const KIND: &str = "KubeSchedulerConfiguration";

/// Plugins that work as they do and have nothing that could be turned off or weighed.
const FIXED: [&str; 6] =
    ["SchedulingGates", "PrioritySort", "NodeName", "DefaultBinder", "DynamicResources", "VolumeZone"];

/// What a scheduler is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// At least one; their names differ.
    pub profiles: Vec<Profile>,
}

impl Default for Config {
    fn default() -> Config {
        Config { profiles: vec![Profile::default()] }
    }
}

impl Config {
    /// The usual ways under another name.
    pub fn named(scheduler_name: &str) -> Config {
        Config { profiles: vec![Profile { scheduler_name: scheduler_name.into(), ..Profile::default() }] }
    }

    /// Reads a configuration. `Err` is one sentence for the operator.
    pub fn read(config: Value) -> Result<Config, String> {
        let file: File = serde_json::from_value(config).map_err(|why| why.to_string())?;
        if file.api_version != API_VERSION || file.kind != KIND {
            return Err(format!("apiVersion and kind must be {API_VERSION:?} and {KIND:?}"));
        }
        if file.extenders.is_some_and(|extenders| !extenders.is_empty()) {
            return Err(
                "extenders: there are none here; a scheduler with another name can run beside this one".to_owned()
            );
        }
        let profiles: Vec<Profile> =
            file.profiles.unwrap_or_default().into_iter().map(profile).collect::<Result<_, _>>()?;
        for (at, profile) in profiles.iter().enumerate() {
            if profiles[..at].iter().any(|other| other.scheduler_name == profile.scheduler_name) {
                return Err(format!("profiles: schedulerName {:?} occurs twice", profile.scheduler_name));
            }
        }
        Ok(if profiles.is_empty() { Config::default() } else { Config { profiles } })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    api_version: String,
    kind: String,
    profiles: Option<Vec<WireProfile>>,
    extenders: Option<Vec<Value>>,
    #[serde(rename = "leaderElection")]
    _leader_election: Option<Value>,
    #[serde(rename = "clientConnection")]
    _client_connection: Option<Value>,
    #[serde(rename = "parallelism")]
    _parallelism: Option<i64>,
    #[serde(rename = "percentageOfNodesToScore")]
    _percentage_of_nodes_to_score: Option<i64>,
    #[serde(rename = "podInitialBackoffSeconds")]
    _pod_initial_backoff_seconds: Option<i64>,
    #[serde(rename = "podMaxBackoffSeconds")]
    _pod_max_backoff_seconds: Option<i64>,
    #[serde(rename = "delayCacheUntilActive")]
    _delay_cache_until_active: Option<bool>,
    #[serde(rename = "enableProfiling")]
    _enable_profiling: Option<bool>,
    #[serde(rename = "enableContentionProfiling")]
    _enable_contention_profiling: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WireProfile {
    scheduler_name: Option<String>,
    #[serde(default)]
    plugins: Plugins,
    plugin_config: Option<Vec<PluginConfig>>,
    #[serde(rename = "percentageOfNodesToScore")]
    _percentage_of_nodes_to_score: Option<i64>,
}

/// By extension point; `multiPoint` is all of them.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct Plugins {
    multi_point: PluginSet,
    filter: PluginSet,
    pre_filter: PluginSet,
    post_filter: PluginSet,
    pre_score: PluginSet,
    score: PluginSet,
    pre_enqueue: PluginSet,
    queue_sort: PluginSet,
    reserve: PluginSet,
    permit: PluginSet,
    pre_bind: PluginSet,
    bind: PluginSet,
    post_bind: PluginSet,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct PluginSet {
    enabled: Vec<Plugin>,
    disabled: Vec<Plugin>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Plugin {
    name: String,
    weight: Option<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PluginConfig {
    name: String,
    args: Value,
}

fn profile(wire: WireProfile) -> Result<Profile, String> {
    let mut profile = Profile::default();
    if let Some(name) = wire.scheduler_name.filter(|name| !name.is_empty()) {
        profile.scheduler_name = name.into();
    }
    let name = profile.scheduler_name.clone();
    let at = |why: String| format!("profile {name:?}: {why}");
    choose(&mut profile, &wire.plugins).map_err(at)?;
    for PluginConfig { name: plugin, args } in wire.plugin_config.into_iter().flatten() {
        configure(&mut profile, &plugin, args).map_err(|why| at(format!("pluginConfig {plugin}: {why}")))?;
    }
    Ok(profile)
}

/// Turns plugins off and on, and weighs them.
fn choose(profile: &mut Profile, plugins: &Plugins) -> Result<(), String> {
    let Plugins { multi_point, filter, pre_filter, post_filter, pre_score, score, .. } = plugins;
    let Plugins { pre_enqueue, queue_sort, reserve, permit, pre_bind, bind, post_bind, .. } = plugins;
    for set in [pre_enqueue, queue_sort, reserve, permit, pre_bind, bind, post_bind] {
        let mut all = set.enabled.iter().chain(&set.disabled).map(|plugin| &plugin.name);
        if let Some(name) = all.find(|name| *name != "*" && !is_known(name)) {
            return Err(format!("there is no plugin {name:?}"));
        }
    }
    let filters = [multi_point, filter, pre_filter, post_filter];
    let scores = [multi_point, score, pre_score];
    for (sets, scoring) in [(&filters[..], false), (&scores[..], true)] {
        for set in sets {
            for plugin in &set.disabled {
                turn(profile, &plugin.name, scoring, None)?;
            }
            for plugin in &set.enabled {
                turn(profile, &plugin.name, scoring, Some(plugin.weight))?;
            }
        }
    }
    Ok(())
}

fn is_known(plugin: &str) -> bool {
    let mut scratch = Profile::default();
    FIXED.contains(&plugin) || filters(&mut scratch, plugin).is_some() || weight(&mut scratch, plugin).is_some()
}

/// Sets a plugin, or all for `*`, on with a weight, or off.
fn turn(profile: &mut Profile, plugin: &str, scoring: bool, on: Option<Option<i64>>) -> Result<(), String> {
    const ALL: [&str; 12] = [
        "NodeUnschedulable",
        "TaintToleration",
        "NodeAffinity",
        "NodePorts",
        "NodeResourcesFit",
        "VolumeBinding",
        "PodTopologySpread",
        "InterPodAffinity",
        "DefaultPreemption",
        "NodeResourcesBalancedAllocation",
        "ImageLocality",
        "VolumeRestrictions",
    ];
    if plugin == "*" {
        return ALL.iter().try_for_each(|name| turn(profile, name, scoring, on));
    }
    if !is_known(plugin) {
        return Err(format!("there is no plugin {plugin:?}"));
    }
    if scoring {
        let usual = weight(&mut Profile::default(), plugin).map_or(1, |weight| *weight);
        if let Some(weight) = weight(profile, plugin) {
            *weight = on.map_or(0, |given| given.filter(|&w| w != 0).unwrap_or(usual));
            if !(0..=100).contains(weight) {
                return Err(format!("plugin {plugin}: the weight must be from 0 to 100"));
            }
        }
    } else if let Some(filter) = filters(profile, plugin) {
        *filter = on.is_some();
    }
    Ok(())
}

fn filters<'a>(profile: &'a mut Profile, plugin: &str) -> Option<&'a mut bool> {
    let filters = &mut profile.filters;
    Some(match plugin {
        "NodeUnschedulable" => &mut filters.unschedulable,
        "TaintToleration" => &mut filters.taints,
        "NodeAffinity" => &mut filters.node_affinity,
        "NodePorts" => &mut filters.ports,
        "NodeResourcesFit" => &mut filters.resources,
        "VolumeBinding" | "VolumeRestrictions" | "NodeVolumeLimits" => &mut filters.volumes,
        "PodTopologySpread" => &mut filters.spread,
        "InterPodAffinity" => &mut filters.pod_affinity,
        "DefaultPreemption" => &mut filters.preemption,
        _ => return None,
    })
}

fn weight<'a>(profile: &'a mut Profile, plugin: &str) -> Option<&'a mut i64> {
    let weights = &mut profile.weights;
    Some(match plugin {
        "TaintToleration" => &mut weights.taints,
        "NodeAffinity" => &mut weights.node_affinity,
        "NodeResourcesFit" => &mut weights.resources,
        "PodTopologySpread" => &mut weights.spread,
        "InterPodAffinity" => &mut weights.pod_affinity,
        "NodeResourcesBalancedAllocation" => &mut weights.balanced,
        "ImageLocality" => &mut weights.images,
        _ => return None,
    })
}

/// Sets a plugin's arguments.
fn configure(profile: &mut Profile, plugin: &str, args: Value) -> Result<(), String> {
    match plugin {
        "NodeResourcesFit" => profile.fit = fit(read(args)?)?,
        "NodeResourcesBalancedAllocation" => {
            let args: BalancedArgs = read(args)?;
            profile.balanced = resources(args.resources)?.unwrap_or_else(|| profile.balanced.clone());
        }
        "InterPodAffinity" => {
            let args: AffinityArgs = read(args)?;
            let weight = args.hard_pod_affinity_weight.unwrap_or(1);
            if !(0..=100).contains(&weight) {
                return Err("hardPodAffinityWeight must be from 0 to 100".to_owned());
            }
            profile.hard_pod_affinity = weight;
            profile.ignore_preferred_terms_of_existing = args.ignore_preferred_terms_of_existing_pods;
        }
        "PodTopologySpread" => profile.default_spread = spread(read(args)?)?,
        "NodeAffinity" => {
            let args: NodeAffinityArgs = read(args)?;
            profile.added_affinity = args.added_affinity.map(|affinity| NodeSelector::of(None, Some(affinity)));
        }
        "DefaultPreemption" => {
            let args: PreemptionArgs = read(args)?;
            let percentage = args.min_candidate_nodes_percentage.unwrap_or(10);
            let least = args.min_candidate_nodes_absolute.unwrap_or(100);
            if percentage > 100 || (percentage, least) == (0, 0) {
                return Err("minCandidateNodesPercentage is at most 100, and not both are 0".to_owned());
            }
            profile.preemption = Candidates { percentage, least };
        }
        "VolumeBinding" => {
            let args: VolumeArgs = read(args)?;
            profile.bind_timeout_seconds = args.bind_timeout_seconds.unwrap_or(600);
        }
        _ => return Err("this plugin takes no arguments".to_owned()),
    }
    Ok(())
}

/// Arguments without the kind that they may carry.
fn read<T: DeserializeOwned>(mut args: Value) -> Result<T, String> {
    if let Some(args) = args.as_object_mut() {
        args.remove("apiVersion");
        args.remove("kind");
    }
    serde_json::from_value(args).map_err(|why| why.to_string())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct FitArgs {
    scoring_strategy: Option<ScoringStrategy>,
    ignored_resources: Option<Vec<String>>,
    ignored_resource_groups: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ScoringStrategy {
    #[serde(rename = "type")]
    kind: String,
    resources: Option<Vec<Resource>>,
    requested_to_capacity_ratio: Option<Ratio>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ratio {
    shape: Vec<Point>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Point {
    utilization: i64,
    score: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Resource {
    name: String,
    weight: Option<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BalancedArgs {
    resources: Option<Vec<Resource>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct AffinityArgs {
    hard_pod_affinity_weight: Option<i64>,
    #[serde(default)]
    ignore_preferred_terms_of_existing_pods: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SpreadArgs {
    default_constraints: Option<Vec<DefaultConstraint>>,
    defaulting_type: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct DefaultConstraint {
    max_skew: i64,
    topology_key: String,
    when_unsatisfiable: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NodeAffinityArgs {
    added_affinity: Option<wire::NodeAffinity>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PreemptionArgs {
    min_candidate_nodes_percentage: Option<usize>,
    min_candidate_nodes_absolute: Option<usize>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct VolumeArgs {
    bind_timeout_seconds: Option<u64>,
}

fn fit(args: FitArgs) -> Result<FitArguments, String> {
    let mut fit = Profile::default().fit;
    let names = |names: Option<Vec<String>>| names.into_iter().flatten().map(Into::into).collect();
    (fit.ignored, fit.ignored_groups) = (names(args.ignored_resources), names(args.ignored_resource_groups));
    let Some(strategy) = args.scoring_strategy else { return Ok(fit) };
    fit.resources = resources(strategy.resources)?.unwrap_or(fit.resources);
    fit.strategy = match (&*strategy.kind, strategy.requested_to_capacity_ratio) {
        ("LeastAllocated", _) => Strategy::LeastAllocated,
        ("MostAllocated", _) => Strategy::MostAllocated,
        ("RequestedToCapacityRatio", Some(ratio)) => Strategy::RequestedToCapacityRatio(line(ratio)?),
        (kind, _) => return Err(format!("scoringStrategy of type {kind:?}: there is none, or its shape is missing")),
    };
    Ok(fit)
}

fn line(ratio: Ratio) -> Result<Box<[(i64, i64)]>, String> {
    let points: Vec<(i64, i64)> = ratio.shape.into_iter().map(|p| (p.utilization, p.score)).collect();
    let in_order = points.windows(2).all(|pair| pair[0].0 < pair[1].0);
    let in_range = points.iter().all(|(percent, score)| (0..=100).contains(percent) && (0..=10).contains(score));
    if points.is_empty() || !in_order || !in_range {
        return Err("shape: utilization grows from 0 to 100, and scores are from 0 to 10".to_owned());
    }
    Ok(points.into())
}

fn resources(wire: Option<Vec<Resource>>) -> Result<Option<Box<[ScoredResource]>>, String> {
    let Some(wire) = wire.filter(|list| !list.is_empty()) else { return Ok(None) };
    if wire.len() > RESOURCES_MAX {
        return Err(format!("resources: at most {RESOURCES_MAX}"));
    }
    let resource = |resource: Resource| {
        let weight = resource.weight.filter(|&weight| weight != 0).unwrap_or(1);
        let fits = (1..=100).contains(&weight);
        fits.then(|| ScoredResource { name: resource.name.as_str().into(), weight })
            .ok_or_else(|| format!("resources: the weight of {:?} must be from 1 to 100", resource.name))
    };
    wire.into_iter().map(resource).collect::<Result<_, _>>().map(Some)
}

fn spread(args: SpreadArgs) -> Result<DefaultSpread, String> {
    let constraints = args.default_constraints.unwrap_or_default();
    match args.defaulting_type.as_deref().unwrap_or("System") {
        "System" if constraints.is_empty() => Ok(DefaultSpread::System),
        "List" => {
            let constraint = |c: DefaultConstraint| {
                let hard = match &*c.when_unsatisfiable {
                    "DoNotSchedule" => true,
                    "ScheduleAnyway" => false,
                    other => return Err(format!("defaultConstraints: whenUnsatisfiable {other:?}")),
                };
                if c.max_skew < 1 {
                    return Err("defaultConstraints: maxSkew must be at least 1".to_owned());
                }
                Ok((c.topology_key.into(), c.max_skew.min(i32::MAX.into()), hard))
            };
            constraints.into_iter().map(constraint).collect::<Result<_, _>>().map(DefaultSpread::List)
        }
        _ => Err("defaultConstraints go with defaultingType: List".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(profile: Value) -> Result<Profile, String> {
        let file = json!({"apiVersion": API_VERSION, "kind": KIND, "profiles": [profile]});
        Config::read(file).map(|config| config.profiles[0].clone())
    }

    #[test]
    fn a_profile_says_how_nodes_are_filtered_and_scored() {
        let profile = read(json!({
            "schedulerName": "packer",
            "plugins": {
                "score": {"enabled": [{"name": "NodeResourcesFit", "weight": 5}], "disabled": [{"name": "ImageLocality"}]},
                "multiPoint": {"disabled": [{"name": "InterPodAffinity"}]},
            },
            "pluginConfig": [{"name": "NodeResourcesFit", "args": {
                "ignoredResourceGroups": ["example.com"],
                "scoringStrategy": {"type": "MostAllocated", "resources": [{"name": "nvidia.com/gpu", "weight": 3}]},
            }}],
        }));
        let profile = profile.expect("a good configuration");
        assert_eq!((&*profile.scheduler_name, profile.weights.resources, profile.weights.images), ("packer", 5, 0));
        assert_eq!((profile.filters.pod_affinity, profile.weights.pod_affinity), (false, 0));
        assert_eq!(profile.fit.strategy, Strategy::MostAllocated);
        assert!(profile.fit.ignores("example.com/widget") && !profile.fit.ignores("cpu"));
        assert_eq!((&*profile.fit.resources[0].name, profile.fit.resources[0].weight), ("nvidia.com/gpu", 3));
    }

    #[test]
    fn what_cannot_be_followed_is_refused_by_name() {
        let cases = [
            (json!({"plugins": {"filter": {"enabled": [{"name": "Coscheduling"}]}}}), "Coscheduling"),
            (
                json!({"pluginConfig": [{"name": "NodeResourcesFit", "args": {"scoringStrategy": {"type": "Best"}}}]}),
                "Best",
            ),
            (json!({"pluginConfig": [{"name": "ImageLocality", "args": {}}]}), "takes no arguments"),
            (json!({"plugin": {}}), "unknown field"),
        ];
        for (profile, part) in cases {
            let why = read(profile).expect_err("it is refused");
            assert!(why.contains(part), "{why}");
        }
        let twice = json!({"apiVersion": API_VERSION, "kind": KIND, "profiles": [{}, {}]});
        assert!(Config::read(twice).expect_err("a name twice").contains("occurs twice"));
        assert!(Config::read(json!({"apiVersion": "v1", "kind": "ConfigMap"})).is_err());
    }
}
