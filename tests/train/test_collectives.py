"""Collectives are found in the text of compiled programs, with the sizes of their results."""

from common.train.collectives import collectives, in_words

# As XLA writes them for TPUs: tiled layouts, tuples, and halves of asynchronous ones.
TEXT = """
%add (x: f32[], y: f32[]) -> f32[] {
}
ENTRY %main {
  %all-reduce.1 = f32[64,128]{1,0:T(8,128)} all-reduce(%fusion), channel_id=1, to_apply=%add
  %all-reduce.2 = (f32[]{:T(256)}, bf16[3,5]{1,0:T(8,128)(2,1)S(1)}) all-reduce(%a, %b)
  %ag-start = (f32[8,4]{1,0}, f32[64,4]{1,0:T(8,128)}) all-gather-start(%p), dimensions={0}
  %ag-done = f32[64,4]{1,0:T(8,128)} all-gather-done(%ag-start)
  %two = ((f32[1], pred[8]), (f32[4], /*index=1*/pred[32])) all-gather-start(%p, %q)
  %rs = f32[16]{0:T(128)} reduce-scatter(%c), dimensions={0}
  %cp-start = (u8[10], u8[10], u32[], u32[]) collective-permute-start(%d)
  %get = f32[] get-tuple-element(%all-reduce.2), index=0
  ROOT %ar-start = f8e4m3fn[12] all-reduce-start(%e)
}
"""


def test_counts_and_bytes():
    found = collectives(TEXT)
    assert found["all-reduce"] == (3, 64 * 128 * 4 + 4 + 15 * 2 + 12)
    assert found["all-gather"] == (2, 64 * 4 * 4 + 4 * 4 + 32)
    assert found["reduce-scatter"] == (1, 64)
    assert found["collective-permute"] == (1, 10)
    assert found["all-to-all"] == (0, 0)


def test_in_words():
    text = "1 reduce-scatter of 0.0 MB"
    assert text in in_words(collectives(TEXT)) and "all-to-all" not in in_words(collectives(TEXT))
    assert in_words(collectives("")) == "none"
