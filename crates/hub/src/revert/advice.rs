//! What the hub's refusals mean for the person at the keyboard, and what to do.

use alloy_sol_types::SolInterface;
use gristmill_types::Amount;

use crate::abi::IHub::IHubErrors;

/// The refusals that say more than a sentence can hold beforehand.
pub(super) fn with_numbers(data: &[u8]) -> Option<String> {
    let grist = |value| Amount::try_from(value).map_or_else(|_| format!("{value} nGRIST"), |amount| amount.to_string());
    Some(match IHubErrors::abi_decode(data).ok()? {
        IHubErrors::InsufficientStake(error) => format!(
            "the account {} has {} free at the hub and {} are needed: deposit more",
            error.account,
            grist(error.available),
            grist(error.needed)
        ),
        IHubErrors::InsufficientAllowance(error) => format!(
            "{} may take {} of {} and needs {}: approve more",
            error.spender,
            grist(error.available),
            error.owner,
            grist(error.needed)
        ),
        IHubErrors::DeadlinePassed(error) => {
            format!("the time for this step on task {} was over at {} (Unix time)", error.taskid, error.deadline)
        }
        IHubErrors::TooEarly(error) => {
            format!("this step on task {} is possible from {} (Unix time) on: wait", error.taskid, error.from)
        }
        IHubErrors::WrongTaskStatus(error) => {
            let status = ["not initialised", "active", "revealing", "completed", "failed"];
            let status = status.get(usize::from(error.status)).copied().unwrap_or("in an unknown state");
            format!("task {} is {status}, which does not allow this step", error.taskid)
        }
        IHubErrors::AlreadyConceded(error) => {
            format!("task {} was given up by its pool, effective at {} (Unix time)", error.taskid, error.effectiveAt)
        }
        IHubErrors::TrustNotOne(error) => {
            format!("task {} has trust {}; contribution and finalize at once need trust 1", error.taskid, error.trust)
        }
        _ => return None,
    })
}

/// A sentence on the refusal with this text or error name.
pub(super) fn of(code: &str) -> Option<&'static str> {
    match code.strip_prefix("iExecV5-matchOrders-0x") {
        Some(number) => matching(number),
        None => escrow(code).or_else(|| life(code)),
    }
}

/// The numbered refusals of `matchOrders`.
fn matching(number: &str) -> Option<&'static str> {
    Some(match number {
        "00" => {
            "the request and the pool's order are of different categories: choose an order of the request's category"
        }
        "01" => "there is no such category: list the categories and choose one of them",
        "02" => "the pool does not offer the confidence that is asked for: lower it, or choose another pool",
        "03" => "the app costs more than the request allows: raise the maximum price",
        "04" => "the dataset costs more than the request allows: raise the maximum price",
        "05" => "the pool costs more than the request allows: raise the maximum price, or choose another pool",
        "06" => "the pool does not offer what the orders' tags ask for (an enclave, a GPU): choose another pool",
        "07" => "the request and the app do not agree on an enclave: use the same tag in both orders",
        "10" => "the request names another app than the app order",
        "11" => "the request names another dataset than the dataset order",
        "12" => "the request is for another pool than that of the pool's order",
        "13" => "the app may not be used with this dataset: its owner restricts it",
        "14" => "the app may not be run by this pool: its owner restricts it",
        "15" => "the app may not be used by this requester: its owner restricts it",
        "16" => "the dataset may not be used by this app: its owner restricts it",
        "17" => "the dataset may not be used by this pool: its owner restricts it",
        "18" => "the dataset may not be used by this requester: its owner restricts it",
        "19" => "the pool's order is for another app only",
        "1a" => "the pool's order is for another dataset only",
        "1b" => "the pool's order is for another requester only",
        "20" => "the app is not registered at this hub: register it, or check its address",
        "21" => "the app order is not signed by the app's owner: let the owner sign it for this hub and chain",
        "30" => "the dataset is not registered at this hub: register it, or check its address",
        "31" => "the dataset order is not signed by the dataset's owner: let the owner sign it for this hub and chain",
        "40" => "the pool is not registered at this hub: register it, or check its address",
        "41" => "the pool's order is not signed by the pool's owner: let the owner sign it for this hub and chain",
        "50" => "the request is not signed by its requester: sign it for this hub and chain",
        "60" => "nothing is left of one of the orders: it was used up or cancelled; take or sign a fresh one",
        _ => return None,
    })
}

fn escrow(code: &str) -> Option<&'static str> {
    Some(match code {
        "IexecEscrow: Transfer amount exceeds balance" => {
            "an account has too little free at the hub for what is to be locked: the payer's price, the pool's stake (30 % of its price a task) or the worker's stake; deposit more, or let the pool lend it to the worker"
        }
        "ERC20InsufficientBalance" => "the account holds too few GRIST tokens: get more, or move less",
        "ERC20InsufficientAllowance" => "the hub may not take that many tokens: approve more, or deposit in one step",
        "CannotLend" => "stake can be lent to another account only, and not to the hub: check the worker's address",
        "LimitTooLarge" => "the hub cannot hold that much: lower the limit",
        "NothingOwed" => "this account owes nothing: there is nothing to repay",
        "SupplyCapExceeded" => "the hub cannot hold that much",
        "HubCannotHold" => "the hub itself cannot be given stake: choose another account",
        "ERC20: transfer to the zero address" => "nothing can be sent to the zero address: check the address",
        "Ownable: caller is not the owner" => "only the owner may do this: use the owner's key",
        "invalid-sender-or-signature" => "only the order's owner may sign or close it: use the owner's key",
        "CallerIsNotTheRequester" => "deposit and match in one step is for one's own request only",
        "AlreadyCreated" => "the same owner already registered exactly this: use the existing one",
        _ => return None,
    })
}

fn life(code: &str) -> Option<&'static str> {
    Some(match code {
        "IndexOutOfDeal" => "the deal has no task of this index",
        "AlreadyContributed" => "this worker already contributed to the task: a worker has one vote",
        "TooManyContributors" => "the task has as many contributors as it can hold",
        "NotFirst" => "somebody contributed before: contribute and reveal instead",
        "EnclaveChallengeMissing" => "the deal asks for an enclave and the contribution comes without one",
        "EnclaveNotSupported" => "the orders ask for an enclave, which this network cannot prove: clear the tag",
        "InvalidAuthorization" => {
            "the pool did not authorise this worker for this task: ask the pool for the task again"
        }
        "InvalidEnclaveSignature" => "the enclave's signature does not fit",
        "NotAHolder" => {
            "only a worker whose contribution agrees with the consensus, and who has not revealed, may reveal"
        }
        "DigestMismatch" => "the digest is not the one that was committed to: reveal the stored one",
        "CallbackMismatch" => "the callback's data do not hash to the digest",
        "NothingRevealed" => "no worker has revealed yet: wait, or reopen the task when the reveal deadline is over",
        "AlreadyRevealed" => "a worker has revealed: finalize the task, or claim it after its final deadline",
        "NotAllowed" => "this caller may not do this (now): the pool's owner may, or later a worker who revealed",
        "InsufficientCallbackGas" => "the gas limit leaves too little for the callback: raise it",
        "NotTheProposer" => "only the timelock's proposer may do this: use its key",
        "OnlyByProposal" => "the timelock changes itself only: propose it",
        "WrongStatus" => "the proposed change is not in a state that allows this: wait for its delay, or look at it",
        "CodeNotNamed" => "the change installs code that it does not name: name it with its hash",
        "CodeDiffers" => "the code at a named address is not the one that was named: look at it, and propose anew",
        "TermTooLarge" => "a number in the orders is too large: lower the trust, the price or the volume",
        "task-pending" => "the task is not completed yet: its result is not there",
        _ => return None,
    })
}
