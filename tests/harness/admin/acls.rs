//! Who may do what.

use kafka_protocol::messages::CreateAclsRequest;
use kafka_protocol::messages::create_acls_request::AclCreation;
use kafka_protocol::protocol::StrBytes;

use super::Admin;

const TOPIC: i8 = 2;
const GROUP: i8 = 3;
const PREFIXED: i8 = 4;
const ALL: i8 = 2;
const ALLOW: i8 = 3;

impl Admin {
    /// Lets a user do everything with the topics and groups whose names begin with `prefix`.
    pub fn allow(&self, user: &str, prefix: &str) {
        let text = |s: &str| StrBytes::from_string(s.to_owned());
        let one = |kind| {
            AclCreation::default()
                .with_resource_type(kind)
                .with_resource_name(text(prefix))
                .with_resource_pattern_type(PREFIXED)
                .with_principal(text(&format!("User:{user}")))
                .with_host(text("*"))
                .with_operation(ALL)
                .with_permission_type(ALLOW)
        };
        let request = CreateAclsRequest::default().with_creations(vec![one(TOPIC), one(GROUP)]);
        let code = |r: &kafka_protocol::messages::CreateAclsResponse| {
            r.results.iter().map(|r| r.error_code).find(|c| *c != 0).unwrap_or(0)
        };
        self.ask_until_ok(|| self.any(), 3, &request, code);
    }
}
