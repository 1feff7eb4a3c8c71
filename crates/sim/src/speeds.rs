//! How fast the machines of volunteers are.

use crate::dice::Dice;

/// Quantiles 0, 0.5 %, 1 % to 100 % of the speed of a host, in hundredths of a GFLOPS: of 3,502,444 hosts of SETI@home, from the
/// public statistics of BOINC of 2016-03-29 (host counts and GFLOPS by processor model) as collected in the repository
/// arcos-combos/combos at 94da68e. Facts; nothing else of it is used.
const QUANTILES: [u32; 201] = [
    7, 34, 43, 50, 58, 64, 71, 74, 78, 81, 85, 86, 89, 91, 93, 97, 97, 101, 105, 110, 114, 115, 117, 120, 123, 124,
    125, 128, 130, 130, 130, 131, 131, 132, 134, 136, 138, 140, 142, 144, 146, 149, 151, 154, 157, 160, 163, 166, 169,
    172, 173, 174, 176, 179, 180, 185, 186, 187, 191, 194, 196, 198, 203, 203, 203, 203, 206, 212, 215, 223, 233, 239,
    244, 249, 249, 249, 249, 251, 254, 258, 260, 261, 261, 264, 270, 273, 275, 277, 279, 284, 290, 292, 296, 300, 308,
    312, 316, 322, 328, 333, 336, 341, 346, 351, 352, 357, 360, 364, 372, 379, 381, 385, 388, 392, 397, 402, 405, 409,
    412, 413, 415, 420, 426, 431, 435, 439, 444, 447, 454, 460, 466, 470, 476, 487, 495, 502, 509, 513, 516, 520, 530,
    538, 549, 555, 560, 569, 581, 590, 602, 615, 619, 632, 650, 709, 754, 801, 832, 881, 902, 911, 927, 940, 944, 956,
    977, 1003, 1018, 1041, 1060, 1077, 1095, 1127, 1155, 1171, 1182, 1192, 1225, 1256, 1273, 1318, 1351, 1409, 1451,
    1522, 1559, 1653, 1740, 1877, 2058, 2118, 2171, 2295, 2394, 2503, 2686, 2908, 2968, 3141, 3351, 4039, 15_842,
];
/// Steps between two quantiles.
const STEPS: u64 = 1 << 20;

/// Draws the speed of a host in MFLOPS, between two quantiles linearly.
pub(crate) fn draw_mflops(dice: &mut Dice) -> u64 {
    let at = dice.roll((QUANTILES.len() as u64 - 1) * STEPS);
    let (step, rest) = ((at / STEPS) as usize, at % STEPS);
    let (low, high) = (u64::from(QUANTILES[step]), u64::from(QUANTILES[step + 1]));
    low * 10 + (high - low) * 10 * rest / STEPS
}

#[cfg(test)]
mod tests;
