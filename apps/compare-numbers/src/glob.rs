//! Patterns for files: `*` stands for any characters of a name, or none; all else for itself.

/// Whether a pattern fits a path. A pattern without `/` is for the file's name, another for its whole path, name by name.
pub fn fits(pattern: &str, path: &str) -> bool {
    if !pattern.contains('/') {
        return fits_name(pattern.as_bytes(), path.rsplit('/').next().unwrap_or(path).as_bytes());
    }
    pattern.split('/').count() == path.split('/').count()
        && pattern.split('/').zip(path.split('/')).all(|(pattern, name)| fits_name(pattern.as_bytes(), name.as_bytes()))
}

/// The last star takes as little as it can; if that fails, one more byte. No other star needs to be tried again.
fn fits_name(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut place) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while place < name.len() {
        if pattern.get(at) == Some(&b'*') {
            at += 1;
            star = Some((at, place));
        } else if pattern.get(at) == Some(&name[place]) {
            at += 1;
            place += 1;
        } else if let Some((behind, taken)) = star {
            at = behind;
            place = taken + 1;
            star = Some((behind, place));
        } else {
            return false;
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}
