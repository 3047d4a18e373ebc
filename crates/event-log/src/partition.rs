//! Which partition a key belongs to: murmur2, as Apache Kafka's Java client computes it, so that every client agrees.

/// The partition of a key: `toPositive(murmur2(key)) % partitions`, as in `BuiltInPartitioner.partitionForKey` of the
/// Java client. A topic of no partitions is treated as one of a single partition.
pub fn partition_of(key: &[u8], partitions: u32) -> u32 {
    (murmur2(key) & 0x7fff_ffff) % partitions.max(1)
}

/// 32-bit murmur2 with the Java client's seed (`org.apache.kafka.common.utils.Utils.murmur2`).
pub fn murmur2(data: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;

    // Java's array length is an int: a longer key cannot exist there.
    let mut h = SEED ^ (data.len() as u32);
    let mut words = data.chunks_exact(4);
    for word in &mut words {
        let mut k = word.iter().rev().fold(0u32, |k, byte| (k << 8) | u32::from(*byte)).wrapping_mul(M);
        k ^= k >> R;
        h = h.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        h ^= rest.iter().rev().fold(0u32, |k, byte| (k << 8) | u32::from(*byte));
        h = h.wrapping_mul(M);
    }
    h ^= h >> 13;
    h = h.wrapping_mul(M);
    h ^ (h >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_java_client() {
        // Expected values from Apache Kafka's own test of Utils.murmur2.
        let cases: [(&str, i32); 6] = [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ];
        for (key, expected) in cases {
            assert_eq!(murmur2(key.as_bytes()) as i32, expected, "{key}");
        }
    }

    #[test]
    fn a_partition_is_always_in_range() {
        for partitions in [1, 2, 7, 64] {
            for n in 0..1_000u32 {
                assert!(partition_of(&n.to_be_bytes(), partitions) < partitions);
            }
        }
        assert_eq!(partition_of(b"foobar", 10), (-790_332_482_i32 & 0x7fff_ffff) as u32 % 10);
        assert_eq!(partition_of(b"anything", 0), 0);
    }
}
