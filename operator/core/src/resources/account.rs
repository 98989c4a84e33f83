//! ServiceAccount of the gateways: they never call the API server.

use super::{Object, gateway_metadata};
use crate::desired::Desired;
use crate::observed::ObjectKind;
use k8s_openapi::api::core::v1::ServiceAccount;

pub(super) fn gateway(desired: &Desired) -> Object {
    let name = desired.name.gateway();
    let account = ServiceAccount {
        metadata: gateway_metadata(desired, name.clone()),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    };
    Object::new(ObjectKind::ServiceAccount, name, &account)
}
