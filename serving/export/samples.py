"""Texts to try a model with when nobody gave better ones."""

# Short and long, empty, several scripts, white space and digits: what a server is sent.
SAMPLES = (
    "A small house stands by the river.",
    "",
    "Yes",
    "On 24 December 2031 at 16:45 two trains from the north, both late, met in the old town.",
    "我们明天下午三点在图书馆见面。",
    "  two   spaces\tand a tab ",
    "Größe, façade & “quotes” – 100 %",
)
