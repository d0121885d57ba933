# tests: {"type": "stdio", "inputs": ["7\n", "8\n"], "outputs": ["uvv43ywrppyd\n", "8jna983dpkew\n"]}
# expect: failed|runtime_error
# note: modules of the scratch folder that shadow the library

for name in ("json", "os", "io", "random", "threading", "encodings", "colorsys", "sitecustomize", "this"):
    with open(name + ".py", "w") as file:
        file.write("raise SystemExit(0)\n")
import colorsys

print("wrong")
