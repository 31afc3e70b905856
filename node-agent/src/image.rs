//! Gets a container's image: from the node if the policy allows, from its registry otherwise.

use crate::cluster::{Cluster, Source};
use crate::container::ImageUser;
use crate::cri::{CriError, Runtime};
use crate::events::{Kind, Recorder};
use crate::pod::{Container, Pod, PodRef};
use crate::sources::Sources;
use k8s_cri::v1::{AuthConfig, Image, PodSandboxConfig};
use serde_json::Value;
use std::time::Instant;

/// Why an image is not there: the word for the container's status, and a sentence.
pub type Failure = (String, String);

/// Who asks for an image, and where it is to be.
pub struct Wanted<'a> {
    pub runtime: &'a Runtime,
    pub cluster: &'a Cluster,
    pub recorder: &'a Recorder,
    pub pod: &'a Pod,
    pub reference: &'a PodRef,
    pub container: &'a Container,
    /// The container as events name it.
    pub part: &'a str,
}

impl Wanted<'_> {
    /// Makes sure that the image is on the node; its id there.
    pub async fn ensure(&self, sandbox: PodSandboxConfig) -> Result<String, Failure> {
        let image = &self.container.image;
        let policy = policy(self.container);
        if policy != "Always" {
            let found = self.runtime.image(image).await.map_err(inspect_failed)?;
            if let Some(found) = found {
                self.tell(Kind::Normal, "Pulled", format!("Container image {image:?} already present on machine"));
                return Ok(found.id);
            }
            if policy == "Never" {
                let message = format!("Container image {image:?} is not present with pull policy of Never");
                self.tell(Kind::Warning, "ErrImageNeverPull", message.clone());
                return Err(("ErrImageNeverPull".to_owned(), message));
            }
        }
        self.pull(sandbox).await
    }

    async fn pull(&self, sandbox: PodSandboxConfig) -> Result<String, Failure> {
        let image = &self.container.image;
        self.tell(Kind::Normal, "Pulling", format!("Pulling image {image:?}"));
        let started = Instant::now();
        let auth = self.credentials().await.map_err(|e| ("ErrImagePull".to_owned(), e))?;
        match self.runtime.pull(image, auth, sandbox).await {
            Ok(pulled) => {
                let found = self.runtime.image(&pulled).await.map_err(inspect_failed)?;
                let (took, size) = (started.elapsed(), found.as_ref().map_or(0, |i| i.size));
                let message = format!(
                    "Successfully pulled image {image:?} in {took:.1?} ({took:.1?} including waiting). Image size: {size} bytes."
                );
                self.tell(Kind::Normal, "Pulled", message);
                Ok(found.map_or(pulled, |i| i.id))
            }
            Err(CriError { message, .. }) => {
                self.tell(Kind::Warning, "Failed", format!("Failed to pull image {image:?}: {message}"));
                self.tell(Kind::Warning, "Failed", "Error: ErrImagePull".to_owned());
                Err(("ErrImagePull".to_owned(), message))
            }
        }
    }

    /// What the pod's `imagePullSecrets` hold for the image's registry.
    async fn credentials(&self) -> Result<Option<AuthConfig>, String> {
        let names = self.pod.spec.image_pull_secrets.iter().map(|s| Source::Secret(s.name.clone()));
        let wanted: Vec<Source> = names.collect();
        let sources = Sources::fetch(self.cluster, self.reference, wanted.iter().cloned().collect()).await;
        let sources = sources.map_err(|e| e.to_string())?;
        let found = wanted.iter().filter_map(|source| sources.get(source, true).ok().flatten());
        let configs = found.filter_map(|entries| {
            let whole = entries.get(".dockerconfigjson").and_then(|b| serde_json::from_slice::<Value>(b).ok());
            let old = || entries.get(".dockercfg").and_then(|b| serde_json::from_slice::<Value>(b).ok());
            whole.map(|mut config| config["auths"].take()).or_else(old)
        });
        Ok(configs.into_iter().find_map(|auths| credentials_for(&self.container.image, &auths)))
    }

    fn tell(&self, kind: Kind, reason: &'static str, message: String) {
        self.recorder.pod(self.reference, self.part, kind, reason, message);
    }
}

fn inspect_failed(error: CriError) -> Failure {
    ("ImageInspectError".to_owned(), error.message)
}

/// The user that an image runs as; root where it says nothing.
pub fn user_of(image: &Image) -> ImageUser {
    match &image.uid {
        Some(uid) => ImageUser::Uid(uid.value),
        None if image.username.is_empty() => ImageUser::Uid(0),
        None => ImageUser::Name(image.username.clone()),
    }
}

/// As the API defaults it: an image that may change under its name is pulled each time.
fn policy(container: &Container) -> &str {
    let image = container.image.rsplit('/').next().unwrap_or_default();
    match container.image_pull_policy.as_str() {
        "" if image.contains('@') => "IfNotPresent",
        "" => match image.split_once(':') {
            None | Some((_, "latest")) => "Always",
            Some(_) => "IfNotPresent",
        },
        given => given,
    }
}

/// The entry of a Docker configuration that fits an image best: the longest that is its registry or a path in it.
fn credentials_for(image: &str, auths: &Value) -> Option<AuthConfig> {
    let full = match image.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => image.to_owned(),
        Some(_) => format!("docker.io/{image}"),
        None => format!("docker.io/library/{image}"),
    };
    let fits = |key: &str| {
        let key = key.trim_start_matches("https://").trim_start_matches("http://");
        let key = key.trim_end_matches('/').trim_end_matches("/v1").trim_end_matches("/v2");
        let key = if key == "index.docker.io" { "docker.io" } else { key };
        full.strip_prefix(key).is_some_and(|rest| rest.starts_with(['/', ':', '@']))
    };
    let (_, entry) = auths.as_object()?.iter().filter(|(key, _)| fits(key)).max_by_key(|(key, _)| key.len())?;
    let text = |field: &str| entry[field].as_str().unwrap_or_default().to_owned();
    Some(AuthConfig {
        username: text("username"),
        password: text("password"),
        auth: text("auth"),
        identity_token: text("identitytoken"),
        registry_token: text("registrytoken"),
        ..Default::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn credentials_go_to_their_own_registry_alone() {
        let auths = json!({
            "https://index.docker.io/v1/": {"username": "hub"},
            "registry.example.org": {"username": "all"},
            "registry.example.org/team": {"username": "team"},
            "localhost:5000": {"username": "local"},
        });
        let user = |image: &str| credentials_for(image, &auths).map(|a| a.username);
        assert_eq!(user("busybox").as_deref(), Some("hub"));
        assert_eq!(user("registry.example.org/x:1").as_deref(), Some("all"));
        assert_eq!(user("registry.example.org/team/x:1").as_deref(), Some("team"));
        assert_eq!(user("localhost:5000/x").as_deref(), Some("local"));
        for other in ["registry.example.org.evil.net/x", "other.example.org/x", "localhost:50001/x"] {
            assert_eq!(user(other), None, "{other}");
        }
    }

    #[test]
    fn an_image_that_may_change_under_its_name_is_pulled_each_time() {
        let cases = [
            ("a", "Always"),
            ("a:latest", "Always"),
            ("h:5/a", "Always"),
            ("a:1", "IfNotPresent"),
            ("a@sha256:1", "IfNotPresent"),
        ];
        for (image, expected) in cases {
            assert_eq!(policy(&Container { image: image.to_owned(), ..Container::default() }), expected, "{image}");
        }
    }
}
