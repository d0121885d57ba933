# tests: {"type": "stdio", "inputs": ["gr\u00fc\u00dfe \ud83c\udf0d \u65e5\u672c\n"], "outputs": ["\u672c\u65e5 \ud83c\udf0d e\u00df\u00fcrg\n"]}
# expect: passed
# note: UTF-8 whatever the locale

print(input()[::-1])
