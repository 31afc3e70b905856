//! The little of DER that is written by hand.

pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const IDENTIFIER: u8 = 0x06;
pub(super) const UTF8_STRING: u8 = 0x0c;

/// A tag, a length and the content, which is that of the parts in their order.
pub(super) fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = content.len().to_be_bytes();
    let significant = &length[length.iter().take_while(|&&byte| byte == 0).count()..];
    let mut element = vec![tag];
    if content.len() < 0x80 {
        element.push(content.len() as u8);
    } else {
        element.push(0x80 | significant.len() as u8);
        element.extend_from_slice(significant);
    }
    element.extend_from_slice(&content);
    element
}

/// A signature: a bit string starts with how many bits of its last byte are unused.
pub(super) fn bits(bytes: &[u8]) -> Vec<u8> {
    element(BIT_STRING, &[&[0], bytes])
}

/// How long tag and length of a parsed element are.
pub(super) fn header_length(element: &[u8]) -> usize {
    if element[1] < 0x80 { 2 } else { 2 + usize::from(element[1] & 0x7f) }
}

/// How long a parsed element is.
pub(super) fn length(element: &[u8]) -> usize {
    let header = header_length(element);
    let big_endian = |bytes: &[u8]| bytes.iter().fold(0, |length, &byte| length << 8 | usize::from(byte));
    header + if header == 2 { element[1].into() } else { big_endian(&element[2..header]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_read_back() {
        for content in [0, 1, 127, 128, 255, 256, 70_000] {
            let element = element(SEQUENCE, &[&vec![7; content]]);
            assert_eq!(length(&element), element.len());
            assert_eq!(element.len() - header_length(&element), content);
        }
    }
}
