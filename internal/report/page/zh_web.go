package page

import "slices"

// zhWeb are the words of the pages that `tcplab serve` shows.
var zhWeb = slices.Concat(zhParams, []message{
	{"to the content", "跳到正文"}, {"New run", "新的运行"}, {"all runs", "所有运行"}, {"its matrix", "所属的矩阵"}, {"A matrix without its table: it goes on, or it was ended before its time. These are its runs so far.", "尚无表格的矩阵：它仍在进行，或被提前结束了。以下是它目前的运行。"}, {"matrix:", "矩阵："}, {"the runs of this matrix are too many for one page: tcplab report --html", "这个矩阵的运行对一页来说太多：tcplab report --html"}, {"A run goes on:", "正在运行："}, {"watch it", "观看"}, {"Stop it", "停止"},
	{"The last run could not be carried out:", "上一次运行未能进行："}, {"name holds", "名称包含"}, {"verdict", "结论"}, {"any", "任意"}, {"Find", "查找"}, {"choose", "选择"},
	{"run", "运行"}, {"checks", "检查"}, {"took", "用时"}, {"started", "开始于"}, {"Compare two", "比较两次运行"}, {"One report of those chosen", "把所选的放进一份报告"}, {"No run matches.", "没有符合的运行。"},
	{"There is no run here yet.", "这里还没有运行。"}, {"pages", "翻页"}, {"newer", "较新"}, {"older", "较旧"}, {"pass", "通过"}, {"fail", "不符"},
	{"running", "运行中"}, {"broken off", "已中断"}, {"unreadable", "读不出"}, {"its result cannot be read: %s", "读不出它的结果：{1}"}, {"there is no such page", "没有这个页面"},
	{"choose 1 to %d runs", "请选择 1 到 {1} 次运行"}, {"choose two runs to compare", "请选择两次运行来比较"},
	{"next:", "接下来："}, {"in", "还有"}, {"fires in", "触发还有"}, {"The server has ended. What it showed last stays.", "服务器已结束。最后显示的内容保留在此。"}, {"open its report", "打开它的报告"},
	{"This run has no result, and nothing comes from it any more: it was ended before its time.", "这次运行没有结果，也不再有新的内容：它被提前结束了。"},
	{"What is not seen yet is what the kernel was predicted to do, before the first packet. Where packets died, the captures show: in the report, when the run is over.",
		"尚未看到的，是在第一个报文之前对内核行为的预测。报文死在哪里由抓包说明：运行结束后见报告。"},
	{"seen", "实测"}, {"event", "事件"}, {"window", "窗口"}, {"off", "偏差"}, {"nominal", "标称"}, {"formula", "算式"}, {"backoff %d", "退避 {1}"},
	{"retransmit", "重传"}, {"persist", "坚持（persist）"}, {"tick %s", "节拍 {1}"},
	{"This page may predict, but not run: it was not allowed to.", "本页可以预测，但未获准运行："},
	{", in virtual time", "，虚拟时间"}, {"as the profile has it", "按方案取值"}, {"Predict", "预测"}, {"Run", "运行"}, {"The same in a terminal:", "在终端中同样的命令："}, {"Prediction", "预测"},
	{"Compare", "比较"}, {"What differs", "有何不同"}, {"Nothing differs: the same prediction, the same verdicts.", "没有不同：预测相同，结论也相同。"}, {"predicted", "预测"}, {"because of", "原因"},
	{"Checks that have another verdict, or are in one run only: %d. They are marked below.", "结论不同或只在一次运行中有的检查：{1} 项，下面已标出。"},
	{"No cause was looked for:", "没有查找原因："}, {"The causes that were found do not explain all of it.", "找到的原因不能解释全部差异。"}, {"only the window differs", "只有窗口不同"}, {"Events", "事件"}, {"Checks", "检查"}, {"Ladders", "梯形图"},
	{"ladder of", "梯形图："},
	{"%s, or never", "{1}，或 never"}, {"0 or a sum of %s", "0 或 {1} 之和"}, {"%d to %d with commas between, or %s", "{1} 到 {2}，以逗号分隔，或 {3}"}, {"last", "last"}, {"last or none", "last 或 none"}, {"%d to %d percent", "百分之 {1} 到 {2}"}, {"%dkbit to %dgbit", "{1}kbit 到 {2}gbit"}, {"all", "all"},
	{"another run goes on", "另一次运行正在进行"}, {"too many pages are open", "打开的页面太多"}, {"this kernel is not here: `tcplab kernels list`", "这里没有这个内核：`tcplab kernels list`"},
	{"the form's token is not that of this process: load the page again", "表单的令牌不属于本进程：请重新载入页面"},
	{"runs are started in the terminal: this page was not allowed to (--allow-run)", "请在终端中启动运行：本页未获准（--allow-run）"},
	{"this page was not allowed to start or stop runs (--allow-run)", "本页未获准启动或停止运行（--allow-run）"},
})
