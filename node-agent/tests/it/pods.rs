//! Pods' lives on a real runtime.

use crate::cluster::Cluster;
use crate::node::{Node, SOON, WAIT, condition, mounts_below, shell, skipped};
use kit::{Containerd, wait_for};
use serde_json::{Value, json};
use std::time::Duration;

fn status_of<'a>(pod: &'a Value, container: &str) -> &'a Value {
    let lists = ["containerStatuses", "initContainerStatuses"].into_iter();
    let mut all = lists.flat_map(|list| pod["status"][list].as_array().into_iter().flatten());
    all.find(|s| s["name"] == container).unwrap_or(&Value::Null)
}

#[tokio::test]
async fn a_pod_gets_everything_that_its_spec_says_and_leaves_nothing() {
    if skipped() {
        return;
    }
    let (cluster, containerd) = (Cluster::default(), Containerd::start().await);
    let node = Node::start(&cluster, &containerd);
    cluster.config_map("acme", "settings", json!({"colour": "blue", "size": "9"}));
    cluster.secret("acme", "login", json!({"password": "aHVudGVyMg=="}));
    let script = "echo env $COLOUR $PASSWORD $POD $CPU $KUBERNETES_SERVICE_HOST $0
        echo config $(cat /config/colour) $(ls /config)
        echo secret $(cat /secret/p) $(stat -c %a -L /secret/p) $(grep -c ' /secret tmpfs' /proc/mounts)
        echo token $(cat /var/run/secrets/kubernetes.io/serviceaccount/token)
        echo labels $(cat /podinfo/labels)
        echo sub $(cat /etc/settings.txt)
        echo shared $(cat /shared/from-init) $(stat -c %a /shared)
        echo host $(hostname) $(grep -c $(hostname) /etc/hosts)
        (echo x > /config/new) 2>/dev/null || echo config is read-only
        echo memory $(cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null)
        echo user $(id -u):$(id -g) $(grep -c 'Seccomp:.2' /proc/self/status)
        echo done; exec sh -c \"$1\"";
    let mut main = shell("main", script);
    main["command"] = json!(["/bin/sh", "-c", script, "arg-$(COLOUR)-$(NONE)", WAIT]);
    main["env"] = json!([
        {"name": "COLOUR", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "colour"}}},
        {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "login", "key": "password"}}},
        {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}}},
    ]);
    main["resources"] = json!({"limits": {"cpu": "500m", "memory": "64Mi"}});
    main["securityContext"] = json!({"runAsUser": 65534, "runAsGroup": 65534});
    main["volumeMounts"] = json!([
        {"name": "config", "mountPath": "/config"},
        {"name": "secret", "mountPath": "/secret"},
        {"name": "shared", "mountPath": "/shared"},
        {"name": "podinfo", "mountPath": "/podinfo"},
        {"name": "config", "mountPath": "/etc/settings.txt", "subPath": "colour"},
        {"name": "token", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": true},
    ]);
    let mut init = shell("init", "echo hello > /shared/from-init");
    init["volumeMounts"] = json!([{"name": "shared", "mountPath": "/shared"}]);
    cluster.run_pod("acme", "web", json!({
        "initContainers": [init], "containers": [main], "serviceAccountName": "robot",
        "volumes": [
            {"name": "config", "configMap": {"name": "settings"}},
            {"name": "secret", "secret": {"secretName": "login", "items": [{"key": "password", "path": "p"}], "defaultMode": 0o444}},
            {"name": "shared", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
            {"name": "podinfo", "downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
            {"name": "token", "projected": {"sources": [{"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}}]}},
        ]}));
    let pod = node.ready("acme", "web").await;
    let status = &pod["status"];
    let ip = status["podIP"].as_str().expect("an address");
    let log = wait_for("the whole log", SOON, async || {
        let log = node.logs("web", "main", "").await;
        if log.contains("done") { Ok(log) } else { Err(log) }
    })
    .await;
    let token = "token of /tenants/acme/api/v1/namespaces/default/serviceaccounts/robot/token for \"web\"";
    let expected = format!(
        "env blue hunter2 {ip} 500 192.0.2.1 arg-blue-$(NONE)\nconfig blue colour size\nsecret hunter2 444 1\ntoken {token}\n\
         labels app=\"web\"\nsub blue\nshared hello 777\nhost web 1\nconfig is read-only\nmemory 67108864\nuser 65534:65534 1\ndone\n"
    );
    assert_eq!(log, expected);
    assert_eq!((&status["phase"], &status["qosClass"]), (&json!("Running"), &json!("Burstable")));
    assert_eq!((&status["hostIP"], &status["podIPs"]), (&json!("192.0.2.7"), &json!([{"ip": ip}])));
    let conditions = ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"];
    assert_eq!(conditions.map(|c| condition(&pod, c)), ["True"; 5]);
    let told = pod["status"]["conditions"].as_array().expect("a list");
    assert!(told.iter().all(|c| c.get("reason").is_none()), "reasons of old are gone: {told:#?}");
    let (init, main) = (status_of(&pod, "init"), status_of(&pod, "main"));
    assert_eq!((&init["state"]["terminated"]["reason"], &init["ready"]), (&json!("Completed"), &json!(true)));
    assert_eq!((&main["started"], &main["restartCount"]), (&json!(true), &json!(0)));
    assert!(main["containerID"].as_str().expect("an id").starts_with("containerd://"));
    assert!(main["imageID"].as_str().expect("an id").contains("sha256:"));

    let dir = containerd.dir().join("node/pods").join(pod["metadata"]["uid"].as_str().expect("a uid"));
    assert!(dir.exists() && !mounts_below(&dir).is_empty());
    cluster.delete_pod("acme", "web", 30);
    node.gone("acme", "web").await;
    assert!(!dir.exists() && mounts_below(&dir).is_empty());
    assert_eq!(containerd.tasks(), []);
    wait_for("the last event", SOON, async || {
        let reasons: Vec<String> = cluster.events("acme", "web").into_iter().map(|(reason, _)| reason).collect();
        let expected = ["Pulled", "Created", "Started", "Pulled", "Created", "Started", "Killing"];
        if reasons == expected { Ok(()) } else { Err(format!("{reasons:?}")) }
    })
    .await;
    node.stop().await;
}

#[tokio::test]
async fn a_restart_of_the_agent_touches_no_container() {
    if skipped() {
        return;
    }
    let (cluster, containerd) = (Cluster::default(), Containerd::start().await);
    let node = Node::start(&cluster, &containerd);
    let mut web = json!({"name": "web", "image": "ursa.local/web:1", "imagePullPolicy": "IfNotPresent"});
    web["readinessProbe"] = json!({"httpGet": {"path": "/cgi-bin/index.cgi", "port": 8080}, "periodSeconds": 1});
    cluster.run_pod("acme", "web", json!({"containers": [web.clone()]}));
    // Another tenant's pod of the same name is another pod.
    cluster.run_pod("other", "web", json!({"containers": [web.clone()]}));
    cluster.run_pod("acme", "leaves", json!({"containers": [shell("c", WAIT)]}));
    for (tenant, name) in [("acme", "web"), ("other", "web"), ("acme", "leaves")] {
        node.ready(tenant, name).await;
    }
    let ip = |tenant: &str| cluster.pod(tenant, "web")["status"]["podIP"].clone();
    assert_ne!(ip("acme"), ip("other"));
    let before = containerd.tasks();
    assert_eq!(before.len(), 6);
    node.stop().await;
    assert_eq!(containerd.tasks(), before);

    let status = cluster.pod("acme", "web")["status"].clone();
    let leaves = containerd
        .dir()
        .join("node/pods")
        .join(cluster.pod("acme", "leaves")["metadata"]["uid"].as_str().expect("a uid"));
    let stray = containerd.dir().join("node/pods/some-pod-of-old/volumes/v");
    std::fs::create_dir_all(&stray).expect("made");
    assert!(leaves.exists());
    cluster.forget_pod("acme", "leaves");
    cluster.run_pod("acme", "new", json!({"containers": [shell("c", WAIT)]}));
    let node = Node::start(&cluster, &containerd);
    // What happened meanwhile is made good.
    node.ready("acme", "new").await;
    wait_for("a forgotten pod to be removed", SOON, async || {
        let tasks = containerd.tasks();
        if tasks.len() == 6 { Ok(()) } else { Err(format!("{tasks:?}")) }
    })
    .await;
    wait_for("its files to be removed, and a stranger's", SOON, async || {
        let left = [leaves.exists(), stray.exists()];
        if left == [false; 2] { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await;
    let kept = containerd.tasks().iter().filter(|task| before.contains(task)).count();
    assert_eq!(kept, 4, "the two web pods are as they were");
    assert_eq!(cluster.pod("acme", "web")["status"], status, "and so is what the API knows of them");
    for (tenant, name) in [("acme", "web"), ("other", "web"), ("acme", "new")] {
        cluster.delete_pod(tenant, name, 5);
        node.gone(tenant, name).await;
    }
    assert_eq!(containerd.tasks(), []);
    node.stop().await;
}

#[tokio::test]
async fn a_container_that_fails_is_restarted_with_a_back_off_and_its_last_words_are_kept() {
    if skipped() {
        return;
    }
    let (cluster, containerd) = (Cluster::default(), Containerd::start().await);
    let node = Node::start(&cluster, &containerd);
    let script = "echo run; echo famous last words > /dev/termination-log; exit 3";
    cluster.run_pod("acme", "crash", json!({"restartPolicy": "OnFailure", "containers": [shell("c", script)]}));
    let looping = |pod: &Value| status_of(pod, "c")["state"]["waiting"]["reason"] == "CrashLoopBackOff";
    let pod = node.wait_pod("acme", "crash", "a crash loop", looping).await;
    let status = status_of(&pod, "c");
    assert_eq!(pod["status"]["phase"], "Running");
    let message = status["state"]["waiting"]["message"].as_str().expect("a message");
    assert!(message.starts_with("back-off 10s restarting failed container=c pod=crash_default("), "{message}");
    let last = &status["lastState"]["terminated"];
    assert_eq!(
        (&last["exitCode"], &last["reason"], &last["message"]),
        (&json!(3), &json!("Error"), &json!("famous last words\n"))
    );
    assert_eq!(status["restartCount"], 1);
    assert_eq!(node.logs("crash", "c", "?previous=true").await, "run\n");

    cluster.run_pod("acme", "done", json!({"restartPolicy": "OnFailure", "containers": [shell("c", "echo yes")]}));
    let pod = node.phase("acme", "done", "Succeeded").await;
    assert_eq!(status_of(&pod, "c")["state"]["terminated"]["reason"], "Completed");
    assert_eq!(condition(&pod, "Ready"), "False");
    assert_eq!(node.logs("done", "c", "?tailLines=1").await, "yes\n");
    cluster.run_pod("acme", "never", json!({"restartPolicy": "Never", "containers": [shell("c", "exit 1")]}));
    node.phase("acme", "never", "Failed").await;
    wait_for("the network of ended pods to be freed", SOON, async || {
        let tasks = containerd.tasks();
        if tasks.len() <= 2 { Ok(()) } else { Err(format!("{tasks:?}")) }
    })
    .await;
    node.stop().await;
}

#[tokio::test]
async fn what_keeps_a_container_from_starting_is_told_and_waited_for() {
    if skipped() {
        return;
    }
    let (cluster, containerd) = (Cluster::default(), Containerd::start().await);
    let node = Node::start(&cluster, &containerd);
    let waiting = |reason: &'static str| move |pod: &Value| status_of(pod, "c")["state"]["waiting"]["reason"] == reason;
    let mut absent = shell("c", WAIT);
    absent["image"] = json!("ursa.local/absent:1");
    absent["imagePullPolicy"] = json!("Never");
    cluster.run_pod("acme", "absent", json!({"containers": [absent]}));
    let pod = node.wait_pod("acme", "absent", "a missing image", waiting("ErrImageNeverPull")).await;
    assert_eq!(pod["status"]["phase"], "Pending");
    let log = node.logs("absent", "c", "").await;
    assert!(log.contains("container \\\"c\\\" in pod \\\"absent\\\" is waiting to start"), "{log}");

    let mut pulled = shell("c", WAIT);
    pulled["image"] = json!("127.0.0.1:1/none:1");
    cluster.run_pod("acme", "pulled", json!({"containers": [pulled]}));
    node.wait_pod("acme", "pulled", "a failed pull", waiting("ErrImagePull")).await;
    node.wait_pod("acme", "pulled", "a back-off", waiting("ImagePullBackOff")).await;

    let mut configured = shell("c", "echo $E; echo ok > /dev/termination-log");
    configured["env"] = json!([{"name": "E", "valueFrom": {"configMapKeyRef": {"name": "late", "key": "k"}}}]);
    cluster.run_pod("acme", "late", json!({"restartPolicy": "Never", "containers": [configured]}));
    let pod = node.wait_pod("acme", "late", "a missing config map", waiting("CreateContainerConfigError")).await;
    assert_eq!(status_of(&pod, "c")["state"]["waiting"]["message"], "configmap \"late\" not found");
    cluster.config_map("acme", "late", json!({"k": "here"}));
    let pod = node.phase("acme", "late", "Succeeded").await;
    assert_eq!(status_of(&pod, "c")["state"]["terminated"]["message"], "ok\n");
    for name in ["absent", "pulled", "late"] {
        cluster.delete_pod("acme", name, 30);
        node.gone("acme", name).await;
    }
    node.stop().await;
}

#[tokio::test]
async fn probes_decide_on_readiness_and_restarts_and_hooks_run() {
    if skipped() {
        return;
    }
    let (cluster, containerd) = (Cluster::default(), Containerd::start().await);
    let node = Node::start(&cluster, &containerd);
    let mut container = shell("c", &format!("echo started; touch /tmp/alive; {WAIT}"));
    container["readinessProbe"] = json!({"exec": {"command": ["test", "-e", "/tmp/ready"]}, "periodSeconds": 1});
    container["livenessProbe"] = json!({"exec": {"command": ["test", "-e", "/tmp/alive"]}, "periodSeconds": 1, "failureThreshold": 1, "initialDelaySeconds": 1});
    container["lifecycle"] = json!({
        "postStart": {"exec": {"command": ["sh", "-c", "echo hooked > /shared/post"]}},
        "preStop": {"exec": {"command": ["sh", "-c", "echo hooked > /shared/pre"]}}});
    container["volumeMounts"] = json!([{"name": "shared", "mountPath": "/shared"}]);
    let shared = tempfile::tempdir().expect("a directory");
    let spec = json!({"containers": [container], "terminationGracePeriodSeconds": 5,
        "volumes": [{"name": "shared", "hostPath": {"path": shared.path(), "type": "Directory"}}]});
    cluster.run_pod("acme", "probed", spec);
    let pod = node.phase("acme", "probed", "Running").await;
    assert_eq!(condition(&pod, "Ready"), "False");
    let told = cluster.events("acme", "probed");
    assert!(shared.path().join("post").exists(), "{} {told:?}", pod["status"]);
    let run = |command: &str| {
        let path = format!("/exec/acme/default/probed/c?command=sh&command=-c&command={command}&stdout=1");
        crate::remote::run(&node.server, path)
    };
    run("touch+/tmp/ready").await;
    node.ready("acme", "probed").await;
    run("rm+/tmp/alive").await;
    let restarted = |pod: &Value| status_of(pod, "c")["restartCount"] == 1 && status_of(pod, "c")["started"] == true;
    let pod = node.wait_pod("acme", "probed", "a restart", restarted).await;
    assert_eq!(condition(&pod, "Ready"), "False", "the new container is not ready by the old one's probes");
    let unhealthy: Vec<_> =
        cluster.events("acme", "probed").into_iter().filter(|(reason, _)| reason == "Killing").collect();
    assert_eq!(unhealthy, [("Killing".to_owned(), "Container c failed liveness probe, will be restarted".to_owned())]);
    cluster.delete_pod("acme", "probed", 5);
    node.gone("acme", "probed").await;
    assert!(shared.path().join("pre").exists());
    assert!(shared.path().join("post").exists(), "a path of the node outlives its pods");
    node.stop().await;
}

#[tokio::test]
async fn a_container_with_a_second_of_grace_is_told_to_end_before_it_is_killed() {
    if skipped() {
        return;
    }
    let (cluster, containerd) = (Cluster::default(), Containerd::start().await);
    let node = Node::start(&cluster, &containerd);
    let script =
        "trap 'echo told > /shared/told; exit 0' TERM; touch /shared/traps; while :; do sleep 1000 & wait; done";
    let mut container = shell("c", script);
    container["volumeMounts"] = json!([{"name": "shared", "mountPath": "/shared"}]);
    let shared = tempfile::tempdir().expect("a directory");
    let volumes = json!([{"name": "shared", "hostPath": {"path": shared.path(), "type": "Directory"}}]);
    cluster.run_pod("acme", "brief", json!({"containers": [container], "volumes": volumes}));
    node.ready("acme", "brief").await;
    wait_for(
        "the trap to be set",
        SOON,
        async || {
            if shared.path().join("traps").exists() { Ok(()) } else { Err("it is not") }
        },
    )
    .await;
    cluster.delete_pod("acme", "brief", 1);
    node.gone("acme", "brief").await;
    assert!(shared.path().join("told").exists());
    node.stop().await;
}

#[tokio::test]
async fn a_node_is_registered_with_its_conditions_and_recovers_with_its_runtime() {
    if skipped() {
        return;
    }
    let (cluster, containerd) = (Cluster::default(), Containerd::start().await);
    let node = Node::start(&cluster, &containerd);
    let ready = |wanted: &'static str| {
        let cluster = cluster.clone();
        async move {
            wait_for("the node's condition", SOON, async || {
                let object = cluster.get("/api/v1/nodes/n1").unwrap_or_default();
                if condition(&object, "Ready") == wanted { Ok(object) } else { Err(format!("{object:#}")) }
            })
            .await
        }
    };
    let object = ready("True").await;
    assert_eq!(["ContainerRuntimeReady", "VmRuntimeReady"].map(|c| condition(&object, c)), ["True", "False"]);
    assert_eq!(object["metadata"]["labels"]["kubernetes.io/hostname"], "n1");
    assert_eq!(object["status"]["capacity"]["pods"], "110");
    assert_eq!(object["status"]["addresses"][0]["address"], "192.0.2.7");
    let lease = cluster.get("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n1").expect("a lease");
    assert_eq!((&lease["spec"]["holderIdentity"], &lease["spec"]["leaseDurationSeconds"]), (&json!("n1"), &json!(40)));
    let users: Vec<String> = cluster.identities().into_iter().map(|i| i.user).collect();
    assert_eq!(users, ["system:node:n1"]);
    cluster.run_pod("acme", "web", json!({"containers": [shell("c", WAIT)]}));
    node.ready("acme", "web").await;

    let before = containerd.tasks();
    let pid = std::fs::read_to_string(containerd.dir().join("run/containerd.pid")).expect("its pid");
    let pid: i32 = pid.split_whitespace().next().and_then(|p| p.parse().ok()).expect("a number");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).expect("it is there");
    let object = ready("False").await;
    assert_eq!(condition(&object, "ContainerRuntimeReady"), "False");
    let script = kit::checkout("hack/containerd.sh");
    let started = tokio::process::Command::new(script).arg("start").arg(containerd.dir()).output().await;
    assert!(started.expect("the script runs").status.success());
    ready("True").await;
    assert_eq!(containerd.tasks(), before, "containers outlive their runtime");
    cluster.delete_pod("acme", "web", 1);
    node.gone("acme", "web").await;
    node.stop().await;
}

#[tokio::test]
async fn a_missing_runtime_is_one_sentence() {
    let dir = tempfile::tempdir().expect("a directory");
    let runtimes = "containerd,container,unix:///nonexistent/c.sock".parse().expect("an endpoint");
    let config = node_agent::Config::new("n1", runtimes, dir.path().to_owned(), [192, 0, 2, 7].into());
    let cluster = std::sync::Arc::new(Cluster::default());
    let running = node_agent::NodeAgent::new(config, cluster).run(runtime::Stop::new());
    let error = tokio::time::timeout(Duration::from_secs(10), running).await.expect("an end").expect_err("no runtime");
    let text = error.to_string();
    assert!(text.starts_with("no container runtime answers at unix:///nonexistent/c.sock"), "{text}");
    assert!(text.contains("--container-runtime-endpoint") && !text.contains('\n'), "{text}");
}
