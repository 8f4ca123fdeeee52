// clang includes this for the sake of programs that draw random numbers. llama.cpp does not.
