# Clone, fetch and push, with no credential of git's own. The big file is random: no pack makes it smaller.
set -e
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 GIT_TERMINAL_PROMPT=0
git clone -q "$1/project.git" clone
cd clone
git config user.name Agent
git config user.email agent@example.test
cat README
git fetch -q origin
git config core.compression 0
git config pack.compression 0
head -c "$((200 * 1024 * 1024))" /dev/urandom > big.bin
git add big.bin
git commit -q -m "a big file"
git push -q origin HEAD:main
git rev-parse HEAD
