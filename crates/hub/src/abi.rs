//! Bindings of the hub, its token and its registries, made from the compiled contracts.

#![allow(missing_docs, clippy::too_many_arguments)]

use alloy_sol_types::sol;

sol!(
    #[derive(Debug, PartialEq, Eq)]
    IHub,
    "../../contracts/artifacts/IHub.json"
);
sol!(Grist, "../../contracts/artifacts/Grist.json");
sol!(
    #[derive(Debug, PartialEq, Eq)]
    Timelock,
    "../../contracts/artifacts/Timelock.json"
);
sol!(AppRegistry, "../../contracts/artifacts/AppRegistry.json");
sol!(DatasetRegistry, "../../contracts/artifacts/DatasetRegistry.json");
sol!(WorkerpoolRegistry, "../../contracts/artifacts/WorkerpoolRegistry.json");

/// What contracts are created with.
pub mod creation {
    #![allow(missing_docs)]

    use alloy_sol_types::sol;

    sol!(Hub, "../../contracts/artifacts/Hub.json");

    sol! {
        /// The token.
        contract Grist {
            constructor(address holder, uint256 supply);
        }
    }
}

sol! {
    /// What every asset answers.
    interface IAsset {
        function owner() external view returns (address);
    }

    /// What the owner of a pool may set.
    interface IWorkerpool {
        function changePolicy(uint256 newWorkerStakeRatio, uint256 newSchedulerRewardRatio) external;
    }
}

/// The name of the custom error with this selector, of the hub, its token or its registries.
pub fn error_name(selector: [u8; 4]) -> Option<&'static str> {
    IHub::IHubErrors::name_by_selector(selector)
        .or_else(|| Grist::GristErrors::name_by_selector(selector))
        .or_else(|| AppRegistry::AppRegistryErrors::name_by_selector(selector))
        .or_else(|| Timelock::TimelockErrors::name_by_selector(selector))
}
