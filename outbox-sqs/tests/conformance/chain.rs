//! Where the access key comes from when the configuration has none: the SDK's default chain. A
//! process of its own asks it, whose environment a test decides. Roles of containers, instances and
//! web identities need services of AWS that nothing here stands in for.

use std::path::Path;
use std::process::{Command, Output};

use outbox_sqs::SqsPublisher;

use crate::queue::config;
use crate::service::Service;
use crate::sqs::address;

const URL: &str = "OUTBOX_TEST_SQS_OF_CHILD";

/// No test, but what the others run in a process of its own.
#[tokio::test]
async fn child() {
    let Ok(url) = std::env::var(URL) else { return };
    if let Err(error) = SqsPublisher::connect(url.parse().unwrap()).await {
        panic!("retryable: {}, {error}", error.is_retryable());
    }
}

async fn connect_in_child(service: &Service, variables: &[(&str, &str)]) -> Output {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "chain::child", "--nocapture"]).env_clear();
    // Nothing of this machine or its user counts.
    let nowhere = Path::new("/nonexistent");
    child.env("HOME", nowhere).env("AWS_EC2_METADATA_DISABLED", "true");
    child.env("AWS_CONFIG_FILE", nowhere).env("AWS_SHARED_CREDENTIALS_FILE", nowhere);
    child.env(URL, format!("sqs://{}", service.address)).envs(variables.iter().copied());
    tokio::task::spawn_blocking(move || child.output().unwrap()).await.unwrap()
}

#[tokio::test]
async fn access_key_and_region_come_from_variables_or_a_profile() {
    let service = Service::start(address(&config())).await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("credentials");
    let profile = "[some]\naws_access_key_id = of-profile\naws_secret_access_key = secret\n";
    std::fs::write(&file, format!("{profile}region = eu-north-1\n")).unwrap();
    let file = file.to_str().unwrap();
    for (variables, id, region) in [
        (
            &[
                ("AWS_ACCESS_KEY_ID", "of-variable"),
                ("AWS_SECRET_ACCESS_KEY", "secret"),
                ("AWS_REGION", "eu-west-3"),
            ][..],
            "of-variable",
            "eu-west-3",
        ),
        (
            &[("AWS_SHARED_CREDENTIALS_FILE", file), ("AWS_PROFILE", "some")],
            "of-profile",
            "eu-north-1",
        ),
    ] {
        let output = connect_in_child(&service, variables).await;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let credential = service.credential();
        let parts: Vec<_> = credential.split('/').collect();
        assert_eq!((parts[0], parts[2]), (id, region), "{credential}");
    }
}

/// Who has no access key, or profiles that refer to each other for one, waits in vain; who has to
/// fetch one, and can't, doesn't. The first was seen to be retryable.
#[tokio::test]
async fn without_an_access_key_or_a_region_that_is_said() {
    let service = Service::start(address(&config())).await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config");
    let lent = |from, to| format!("[profile {from}]\nrole_arn = r\nsource_profile = {to}\n");
    std::fs::write(&file, lent("a", "b") + &lent("b", "a")).unwrap();
    let file = file.to_str().unwrap();
    let region = ("AWS_REGION", "eu-west-3");
    for (variables, says) in [
        (&[region][..], "retryable: false, no access key can be used: the environment has none"),
        (
            &[region, ("AWS_CONFIG_FILE", file), ("AWS_PROFILE", "a")],
            "retryable: false, no access key can be used: ",
        ),
        (
            &[region, ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:1/")],
            "retryable: true, SQS can't be used: ",
        ),
        (&[], "retryable: false, no region is known: give the option `region`"),
    ] {
        let output = connect_in_child(&service, variables).await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(says), "{said}");
        assert_eq!(service.requests(), 0, "nothing is sent that isn't signed");
    }
}
